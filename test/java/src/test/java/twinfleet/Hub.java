package twinfleet;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.microsoft.azure.sdk.iot.device.ClientOptions;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Random;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import javax.net.ssl.HttpsURLConnection;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/** The hub under test: the real program, on a loopback address of its own, since the SDKs' ports are fixed: MQTT on 8883, REST on 443. */
final class Hub implements AutoCloseable {
    private static final int[] PORTS = {8883, 443};

    private final Process process;
    private final Path dir;
    final String host;
    final JsonObject said;
    final SSLContext tls;

    Hub() throws Exception {
        host = ownAddress();
        dir = Files.createTempDirectory("twinfleet-java-");
        List<String> command = new ArrayList<>(List.of(binary().toString(), "hub", "--json", "--hostname", host, "--cert-dir", dir.resolve("certs").toString()));
        command.addAll(List.of("--listen", host + ":8883", "--extra-listen", host + ":443"));
        process = new ProcessBuilder(command).redirectError(dir.resolve("log").toFile()).start();
        String line = new BufferedReader(new InputStreamReader(process.getInputStream())).readLine();
        if (line == null) {
            throw new IOException("the hub ended at once: " + Files.readString(dir.resolve("log")));
        }
        said = JsonParser.parseString(line).getAsJsonObject();
        tls = trusting(Path.of(said.get("ca").getAsString()));
        // The service's clients take the JVM's context for HTTPS; those of devices are given theirs.
        SSLContext.setDefault(tls);
        HttpsURLConnection.setDefaultSSLSocketFactory(tls.getSocketFactory());
    }

    private static Path binary() {
        String given = System.getenv("TWINFLEET_BINARY");
        return given != null ? Path.of(given) : Path.of("..", "..", "bin", "twinfleet").toAbsolutePath().normalize();
    }

    /** A loopback address on which nobody uses the SDKs' ports. */
    private static String ownAddress() throws IOException {
        Random random = new Random();
        IOException last = null;
        for (int i = 0; i < 100; i++) {
            String address = "127." + (64 + random.nextInt(186)) + "." + random.nextInt(250) + "." + (2 + random.nextInt(248));
            try {
                for (int port : PORTS) {
                    try (ServerSocket s = new ServerSocket()) {
                        s.bind(new InetSocketAddress(InetAddress.getByName(address), port));
                    }
                }
                return address;
            } catch (IOException e) {
                last = e;
                if (e.getMessage().contains("Permission denied")) {
                    throw new IOException("the SDKs use port 443, which this user may not open: run as root, or run\n  sudo sysctl -w net.ipv4.ip_unprivileged_port_start=443", e);
                }
            }
        }
        throw last;
    }

    private static SSLContext trusting(Path ca) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (InputStream in = Files.newInputStream(ca)) {
            store.setCertificateEntry("hub", CertificateFactory.getInstance("X.509").generateCertificate(in));
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        SSLContext context = SSLContext.getInstance("TLSv1.2");
        context.init(null, trust.getTrustManagers(), null);
        return context;
    }

    ClientOptions.ClientOptionsBuilder options() {
        return ClientOptions.builder().sslContext(tls);
    }

    String service(String policy) {
        return "HostName=" + host + ";SharedAccessKeyName=" + policy + ";SharedAccessKey=" + said.getAsJsonObject("policies").get(policy).getAsString();
    }

    String device(String id, String key) {
        return "HostName=" + host + ";DeviceId=" + id + ";SharedAccessKey=" + key;
    }

    String module(String device, String id, String key) {
        return "HostName=" + host + ";DeviceId=" + device + ";ModuleId=" + id + ";SharedAccessKey=" + key;
    }

    /** Identities of its own for every case, so that cases do not meet. */
    static String unique(String name) {
        return name + "-" + UUID.randomUUID().toString().substring(0, 8);
    }

    @Override
    public void close() throws Exception {
        process.destroy();
        if (!process.waitFor(30, TimeUnit.SECONDS)) {
            process.destroyForcibly();
            throw new IOException("the hub did not end");
        }
        int code = process.exitValue();
        if (code != 0 && code != 143) {
            throw new IOException("the hub ended with code " + code + ": " + Files.readString(dir.resolve("log")));
        }
        try (var files = Files.walk(dir)) {
            for (Path p : files.sorted(Comparator.reverseOrder()).toList()) {
                Files.delete(p);
            }
        }
    }
}
