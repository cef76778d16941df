//! Recordings as files.

use std::{fs::File, io, path::Path};

use compotastic_sim::recording::{Header, Recorder, Sink};

/// A sink that writes a recording to a file; one that is there is replaced.
pub fn recorder(path: &Path, header: &Header) -> io::Result<Box<dyn Sink>> {
    let failed = |error: io::Error| {
        io::Error::new(error.kind(), format!("cannot write the recording {}: {error}", path.display()))
    };
    let file = io::BufWriter::new(File::create(path).map_err(failed)?);
    Ok(Box::new(Recorder::new(file, header).map_err(failed)?))
}
