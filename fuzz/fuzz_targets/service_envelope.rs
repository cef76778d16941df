//! Packets over MQTT: read, written, read and written again.
#![no_main]

use compotastic_messages::{Message, ServiceEnvelope};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if data.len() > 700 {
        return;
    }
    let Ok(envelope) = ServiceEnvelope::decode(data) else { return };
    // Names are bytes of others: showing them never fails.
    assert!(envelope.channel_id.as_str().is_some() || !envelope.channel_id.is_empty());
    let mut first = [0; 2048];
    let Ok(length) = envelope.encode_to(&mut first) else { return };
    let again = ServiceEnvelope::decode(&first[..length]).expect("what was written can be read");
    assert_eq!(again.channel_id, envelope.channel_id);
    assert_eq!(again.gateway_id, envelope.gateway_id);
    let mut second = [0; 2048];
    let length_again = again.encode_to(&mut second);
    assert_eq!(length_again.map(|length| &second[..length]), Ok(&first[..length]));
});
