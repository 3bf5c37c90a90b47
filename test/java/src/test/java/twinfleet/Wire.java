package twinfleet;

import java.io.Closeable;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/**
 * A way to the hub on which answers take as long as from a service that is not on the same machine.
 *
 * <p>The provisioning client over MQTT needs that (provisioning-device-client 2.1.3): ContractAPIMqtt.executeProvisioningMessage publishes, and only then waits on receiveLock, without a look at what has
 * come; messageReceived notifies whoever waits at that moment. An answer that is there before the wait begins wakes nobody, and the client stands still for a minute.
 */
final class Wire implements Closeable {
    /** What the hub sends is passed on so many milliseconds later: many times what a busy machine needs to get from the one statement to the next. */
    private static final int LATE = 40;

    private final ServerSocket server = new ServerSocket();
    private final InetSocketAddress to;
    private final Set<Socket> open = ConcurrentHashMap.newKeySet();

    /** Passes on what comes to a port of one address to the same port of another. */
    Wire(String from, String to, int port) throws IOException {
        this.to = new InetSocketAddress(InetAddress.getByName(to), port);
        server.bind(new InetSocketAddress(InetAddress.getByName(from), port));
        start(this::accept);
    }

    private static void start(Runnable work) {
        Thread t = new Thread(work, "wire");
        t.setDaemon(true);
        t.start();
    }

    private void accept() {
        while (!server.isClosed()) {
            Socket client = null;
            Socket hub = new Socket();
            try {
                client = server.accept();
                hub.connect(to);
                client.setTcpNoDelay(true);
                hub.setTcpNoDelay(true);
                open.add(client);
                open.add(hub);
            } catch (IOException e) {
                end(client, hub); // closed, or the hub refuses: the client sees an end
                continue;
            }
            Socket c = client;
            start(() -> pass(c, hub, 0));
            start(() -> pass(hub, c, LATE));
        }
    }

    private void pass(Socket from, Socket to, int late) {
        try {
            InputStream in = from.getInputStream();
            OutputStream out = to.getOutputStream();
            byte[] some = new byte[1 << 16];
            for (int n = in.read(some); n >= 0; n = in.read(some)) {
                Thread.sleep(late);
                out.write(some, 0, n);
            }
        } catch (IOException | InterruptedException e) {
            // One side has ended; so does the other.
        } finally {
            end(from, to);
        }
    }

    private void end(Socket... both) {
        for (Socket s : both) {
            try {
                if (s != null) {
                    s.close();
                    open.remove(s);
                }
            } catch (IOException e) {
                throw new IllegalStateException(e);
            }
        }
    }

    @Override
    public void close() throws IOException {
        server.close();
        end(open.toArray(Socket[]::new));
    }
}
