package twinfleet;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/**
 * A few milliseconds between client and hub, as any network has. The device client notes the id of a message that it has published after it has sent it: a PUBACK that comes
 * within microseconds, as over loopback, may be there first, is then taken for nobody's ("acknowledged by service" without "was sent by this client" in the client's log), and the client waits for ever.
 */
final class Distance implements AutoCloseable {
    private static final int MILLISECONDS = 5;

    private final ServerSocket listener;
    private final ExecutorService threads = Executors.newCachedThreadPool(r -> {
        Thread t = new Thread(r, "distance");
        t.setDaemon(true);
        return t;
    });

    Distance(String from, String to, int port) throws IOException {
        listener = new ServerSocket(port, 128, InetAddress.getByName(from));
        threads.execute(() -> {
            while (!listener.isClosed()) {
                try {
                    Socket client = listener.accept();
                    Socket hub = new Socket(to, port);
                    client.setTcpNoDelay(true);
                    hub.setTcpNoDelay(true);
                    threads.execute(() -> copy(client, hub, 0));
                    threads.execute(() -> copy(hub, client, MILLISECONDS));
                } catch (IOException e) {
                    // The hub or the listener is closed: the client sees its connection end.
                }
            }
        });
    }

    private static void copy(Socket from, Socket to, int delay) {
        byte[] buffer = new byte[1 << 16];
        try (from; to) {
            InputStream in = from.getInputStream();
            OutputStream out = to.getOutputStream();
            for (int n = in.read(buffer); n >= 0; n = in.read(buffer)) {
                Thread.sleep(delay);
                out.write(buffer, 0, n);
            }
        } catch (IOException | InterruptedException e) {
            // One side has gone: both are closed.
        }
    }

    @Override
    public void close() throws IOException {
        listener.close();
        threads.shutdownNow();
    }
}
