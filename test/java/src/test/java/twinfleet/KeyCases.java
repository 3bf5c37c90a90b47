package twinfleet;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.Base64;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;
import org.junit.jupiter.api.Test;

/** Keys of devices of an enrollment group. They need no hub: `make setup` runs them so that Maven has all that it needs afterwards without a network. */
class KeyCases {
    static String derived(String groupKey, String registrationId) throws Exception {
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(Base64.getDecoder().decode(groupKey), "HmacSHA256"));
        return Base64.getEncoder().encodeToString(mac.doFinal(registrationId.getBytes()));
    }

    @Test
    void the_documents_example_of_a_derived_key() throws Exception {
        String group = "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw==";
        assertEquals("Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc=", derived(group, "sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6"));
    }
}
