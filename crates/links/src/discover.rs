//! Radios that are attached to this machine.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Where udev puts the names that do not change.
const BY_ID: &str = "/dev/serial/by-id";

/// A serial port that may have a radio behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The device file.
    pub path: PathBuf,
    /// Its link under `/dev/serial/by-id`, which stays the same when devices are plugged anew.
    pub by_id: Option<PathBuf>,
    /// Why it cannot be opened, and how to mend that.
    pub problem: Option<String>,
}

impl Found {
    /// The URL that opens it: by the name that does not change, where there is one.
    pub fn url(&self) -> String {
        format!("serial:{}", self.by_id.as_ref().unwrap_or(&self.path).display())
    }
}

/// USB serial ports of this machine, sorted.
pub fn discover() -> Vec<Found> {
    discover_in(Path::new("/dev"), Path::new(BY_ID))
}

fn discover_in(devices: &Path, by_id: &Path) -> Vec<Found> {
    let usb = |name: &str| name.starts_with("ttyUSB") || name.starts_with("ttyACM");
    let links: Vec<(PathBuf, PathBuf)> =
        entries(by_id).into_iter().filter_map(|link| Some((fs::canonicalize(&link).ok()?, link))).collect();
    let mut found: Vec<Found> = entries(devices)
        .into_iter()
        .filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(usb))
        .map(|path| Found {
            by_id: links
                .iter()
                .find(|(target, _)| Some(target) == fs::canonicalize(&path).ok().as_ref())
                .map(|(_, link)| link.clone()),
            problem: fs::OpenOptions::new()
                .read(true)
                .write(true)
                .open(&path)
                .err()
                .filter(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
                .map(|_| permission(&path)),
            path,
        })
        .collect();
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).map(|list| list.flatten().map(|entry| entry.path()).collect()).unwrap_or_default()
}

/// What lets a user open a device file: its group.
pub(crate) fn permission(path: &Path) -> String {
    match fs::metadata(path).ok().and_then(|file| group_name(file.gid())) {
        Some(group) if group != "root" => {
            format!("join the group that may use it: `sudo usermod -aG {group} $USER`, then log in again")
        }
        _ => "let your user read and write it: `ls -l` shows who may".into(),
    }
}

fn group_name(gid: u32) -> Option<String> {
    let groups = fs::read_to_string("/etc/group").ok()?;
    let is = |line: &&str| line.split(':').nth(2).and_then(|field| field.parse().ok()) == Some(gid);
    groups.lines().find(is)?.split(':').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usb_ports_are_found_with_the_name_that_does_not_change() {
        let folder = std::env::temp_dir().join(format!("compotastic-discover-{}", std::process::id()));
        let by_id = folder.join("by-id");
        fs::create_dir_all(&by_id).unwrap();
        for name in ["ttyUSB1", "ttyACM0", "ttyS0", "null"] {
            fs::write(folder.join(name), "").unwrap();
        }
        std::os::unix::fs::symlink("../ttyUSB1", by_id.join("usb-Silicon_Labs_CP2102-if00")).unwrap();
        let found = discover_in(&folder, &by_id);
        fs::remove_dir_all(&folder).unwrap();
        let names: Vec<_> =
            found.iter().map(|port| port.path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["ttyACM0", "ttyUSB1"]);
        assert!(found[0].url().ends_with("/ttyACM0"), "{}", found[0].url());
        assert!(found[1].url().ends_with("/by-id/usb-Silicon_Labs_CP2102-if00"), "{}", found[1].url());
        assert!(discover_in(Path::new("/nowhere"), Path::new("/nowhere")).is_empty());
    }

    #[test]
    fn groups_have_names() {
        assert_eq!(group_name(0).as_deref(), Some("root"));
        assert_eq!(group_name(4_000_000_000), None);
    }
}
