package twinfleet;

import com.microsoft.azure.sdk.iot.device.InternalClient;
import com.microsoft.azure.sdk.iot.device.IotHubStatusCode;
import com.microsoft.azure.sdk.iot.device.Message;
import com.microsoft.azure.sdk.iot.device.exceptions.IotHubClientException;
import com.microsoft.azure.sdk.iot.device.twin.GetTwinCorrelatingMessageCallback;
import com.microsoft.azure.sdk.iot.device.twin.ReportedPropertiesUpdateCorrelatingMessageCallback;
import com.microsoft.azure.sdk.iot.device.twin.ReportedPropertiesUpdateResponse;
import com.microsoft.azure.sdk.iot.device.twin.Twin;
import com.microsoft.azure.sdk.iot.device.twin.TwinCollection;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/**
 * The twin operations of a device or module client, which wait for the hub's answer.
 *
 * <p>The SDK's own getTwin and updateReportedProperties lose answers that arrived (iot-device-client 2.5.0 and before; azure-iot-sdk-java issue 1803). IotHubTransport.onMessageReceived first gives the
 * answer to the receive task (addToReceivedMessagesQueue), and only then looks up the request's callback in correlationCallbacks; meanwhile the receive task may have acknowledged the answer and removed
 * the callback (acknowledgeReceivedMessage). Both threads are the client's, and start when the answer is there: nothing of the hub or the network decides which one is first.
 *
 * <p>The same operations with the fuller callbacks can be kept in order: the receive task calls onResponseAcknowledged before it removes the callback, and here that call waits until onResponseReceived
 * has run. An answer that the hub does not send, or that the client cannot read, still fails the case.
 */
final class Twins {
    private static final long SECONDS = 15;

    private Twins() { }

    /** The client's twin; an answer that is no success is thrown. */
    static Twin get(InternalClient client) throws Exception {
        Answer<Twin> answer = new Answer<>();
        client.getTwinAsync(new GetTwinCorrelatingMessageCallback() {
            @Override
            public void onRequestQueued(Message message, Object context) { }

            @Override
            public void onRequestSent(Message message, Object context) { }

            @Override
            public void onRequestAcknowledged(Message message, Object context, IotHubClientException e) { }

            @Override
            public void onResponseReceived(Twin twin, Message message, Object context, IotHubStatusCode status, IotHubClientException e) {
                answer.received(twin, e);
            }

            @Override
            public void onResponseAcknowledged(Message message, Object context) {
                answer.hold();
            }
        }, null);
        return answer.await();
    }

    /** Reports properties; an answer that is no success is thrown. */
    static ReportedPropertiesUpdateResponse report(InternalClient client, TwinCollection reported) throws Exception {
        Answer<ReportedPropertiesUpdateResponse> answer = new Answer<>();
        client.updateReportedPropertiesAsync(reported, new ReportedPropertiesUpdateCorrelatingMessageCallback() {
            @Override
            public void onRequestQueued(Message message, Object context) { }

            @Override
            public void onRequestSent(Message message, Object context) { }

            @Override
            public void onRequestAcknowledged(Message message, Object context, IotHubClientException e) { }

            @Override
            public void onResponseReceived(Message message, Object context, IotHubStatusCode status, ReportedPropertiesUpdateResponse response, IotHubClientException e) {
                answer.received(response, e);
            }

            @Override
            public void onResponseAcknowledged(Message message, Object context) {
                answer.hold();
            }
        }, null);
        return answer.await();
    }

    /** The answer to one operation. */
    private static final class Answer<T> {
        private final CompletableFuture<T> future = new CompletableFuture<>();

        void received(T value, IotHubClientException e) {
            if (e != null) {
                future.completeExceptionally(e);
            } else {
                future.complete(value);
            }
        }

        /** Keeps the receive task from removing the callback before the answer was given to it. */
        void hold() {
            try {
                future.get(SECONDS, TimeUnit.SECONDS);
            } catch (ExecutionException | TimeoutException e) {
                // await tells the case.
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt(); // the client is being closed
            }
        }

        T await() throws Exception {
            try {
                return future.get(SECONDS, TimeUnit.SECONDS);
            } catch (ExecutionException e) {
                throw e.getCause() instanceof IotHubClientException refused ? refused : e;
            }
        }
    }
}
