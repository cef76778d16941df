//! Control records and the text form of enrolments: what is read has one canonical form, which reads the same.
#![no_main]

use compotastic_wire::records::{
    capability::{CapabilityRecord, MAX_CAPABILITY},
    enrolment::{EnrolmentRecord, MAX_ENROLMENT},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(record) = CapabilityRecord::decode(data) {
        let mut buffer = [0; MAX_CAPABILITY];
        let length = record.encode(&mut buffer).expect("what was read can be written");
        assert_eq!(CapabilityRecord::decode(&buffer[..length]), Ok(record));
    }
    let enrolment = EnrolmentRecord::decode(data).ok();
    let from_text = core::str::from_utf8(data).ok().and_then(|text| EnrolmentRecord::from_text(text).ok());
    for record in enrolment.into_iter().chain(from_text) {
        let mut buffer = [0; MAX_ENROLMENT];
        let length = record.encode(&mut buffer).expect("what was read can be written");
        assert_eq!(EnrolmentRecord::decode(&buffer[..length]).as_ref(), Ok(&record));
        assert_eq!(EnrolmentRecord::from_text(&record.to_text().expect("it fits")), Ok(record));
    }
});
