//! Scenarios that name files: what they extend, rasters and tracks; what is wrong with them is said with the line.

use std::{fs, path::PathBuf};

use compotastic_sim::scenario::Scenario;

/// A folder of this test's own.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("compotastic-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const GOOD: &str = "name = \"base\"\npreset = \"LONG_FAST\"\nregion = \"EU_868\"\nhours = 2.0\n\n[radio]\nexponent = 3.0\n\n[[node]]\nname = \"a\"\nx_m = 0.0\ny_m = 0.0\n";

#[test]
fn what_is_said_wins_and_lists_go_on() {
    let folder = Folder::new("extends");
    folder.put("base.toml", GOOD);
    folder.put(
        "middle.toml",
        "extends = \"base.toml\"\nhours = 3.0\n[[node]]\nname = \"b\"\nx_m = 5.0\ny_m = 5.0\n",
    );
    let path =
        folder.put("top.toml", "extends = \"middle.toml\"\nname = \"top\"\n[radio]\nshadowing_db = 1.0\n");
    let top = Scenario::load(&path).unwrap();
    assert_eq!((top.name.as_str(), *top.hours.get_ref(), top.node.len()), ("top", 3.0, 2));
    assert_eq!(*top.radio.exponent.as_ref().unwrap().get_ref(), 3.0);
    assert_eq!(*top.radio.shadowing_db.as_ref().unwrap().get_ref(), 1.0);
}

#[test]
fn a_circle_and_missing_files_are_told_with_the_line() {
    let folder = Folder::new("circle");
    folder.put("good.toml", GOOD);
    folder.put("a.toml", "name = \"a\"\nextends = \"b.toml\"\n");
    folder.put("b.toml", "extends = \"c.toml\"\n");
    folder.put("c.toml", "\n\nextends = \"a.toml\"\n");
    folder.put("bad.asc", "ncols 2\nnrows 1\nxllcorner 0\nyllcorner 0\ncellsize 10\n5 x\n");
    folder.put("bad.gpx", "<gpx><trk/></gpx>");
    let says = |name: &str, text: &str| Scenario::load(&folder.put(name, text)).unwrap_err().to_string();
    let circle = Scenario::load(&folder.0.join("a.toml")).unwrap_err().to_string();
    assert!(
        circle.contains("line 2") && circle.contains("circle: a.toml -> b.toml -> c.toml -> a.toml"),
        "{circle}"
    );
    let own = says("self.toml", "extends = \"self.toml\"\n");
    assert!(own.contains("circle: self.toml -> self.toml"), "{own}");
    let missing = says("m.toml", "\nextends = \"nowhere.toml\"\n");
    assert!(missing.contains("line 2") && missing.contains("there is no file"), "{missing}");
    let raster = says("r.toml", &GOOD.replace("exponent = 3.0", "terrain = \"nowhere.asc\""));
    assert!(
        raster.contains("line 7") && raster.contains("cannot read") && raster.contains("nowhere.asc"),
        "{raster}"
    );
    let raster = says("s.toml", &GOOD.replace("exponent = 3.0", "terrain = \"bad.asc\""));
    assert!(raster.contains("line 7") && raster.contains("x is not a height"), "{raster}");
    let track = says("g.toml", &format!("{GOOD}gpx = \"bad.gpx\"\n"));
    assert!(track.contains("line 13") && track.contains("needs [origin]"), "{track}");
    let origin = "[origin]\nlatitude = 47.0\nlongitude = 11.0\n";
    let track = says("h.toml", &format!("{GOOD}gpx = \"bad.gpx\"\n{origin}"));
    assert!(track.contains("line 13") && track.contains("no track"), "{track}");
    let base = says("i.toml", "hours = 1.0\nextends = \"j.toml\"\n");
    assert!(base.contains("j.toml"), "{base}");
    folder.put("j.toml", &GOOD.replace("hours = 2.0", "hours = -2.0"));
    let base = Scenario::load(&folder.0.join("i.toml")).unwrap_err().to_string();
    assert!(base.contains("line 2") && base.contains("line 4: hours = -2 is not between"), "{base}");
    let nowhere = Scenario::load(&folder.0.join("none.toml")).unwrap_err().to_string();
    assert!(nowhere.contains("sim new"), "{nowhere}");
}

#[test]
fn a_gpx_track_is_walked() {
    let folder = Folder::new("gpx");
    let point = |lat: f64, time: &str| {
        format!("<trkpt lat=\"{lat}\" lon=\"11\"><time>2026-05-01T10:{time}Z</time></trkpt>")
    };
    let points = point(47.0, "00:00") + &point(47.01, "20:00");
    folder.put("walk.gpx", &format!("<gpx><trk><trkseg>{points}</trkseg></trk></gpx>"));
    let origin = "[origin]\nlatitude = 47.0\nlongitude = 11.0\n";
    let path = folder.put("w.toml", &format!("{GOOD}gpx = \"walk.gpx\"\n{origin}"));
    let scenario = Scenario::load(&path).unwrap();
    assert!(scenario.node[0].track_read.is_some());
}

#[test]
fn settings_of_nodes_of_ours_are_checked() {
    let node = "[[node]]\nname = \"e\"\nkind = \"edge\"\nx_m = 0.0\ny_m = 9.0\n";
    for (more, says) in [
        ("[[reports]]\nfrom = \"e\"\nevery_s = 60\n", "names no [[node]] of kind field"),
        ("[[updates]]\nfrom = \"a\"\nat_s = 60\nversion = 1\n", "names no [[node]] of kind edge"),
        ("[[updates]]\nfrom = \"e\"\nat_s = 60\nversion = 0\n", "version = 0 is not between"),
        ("[[messages]]\nfrom = \"e\"\nto = \"a\"\nevery_s = 60\nlength = 9\n", "is a node of ours"),
        ("[bluetooth]\nrange_m = nan\n", "range_m = NaN"),
        ("[bluetooth]\nreach = 5\n", "unknown field `reach`"),
    ] {
        let error = Scenario::parse(&format!("{GOOD}{node}{more}")).unwrap_err().to_string();
        assert!(error.contains(says) && error.starts_with("line "), "{error}");
    }
    for (more, says) in [
        ("track = [[5.0, 0.0, 0.0], [1.0, 0.0, 0.0]]\n", "their times rise"),
        ("track = [[0.0, nan, 0.0]]\n", "their times rise"),
        ("walk = { radius_m = -5.0, speed_m_s = 1.0 }\n", "radius_m = -5"),
        ("visits = { nodes = [\"z\"], speed_m_s = 1.0, stay_s = 1.0 }\n", "\"z\" names no"),
        ("battery = { capacity_mwh = 0.0 }\n", "capacity_mwh = 0"),
        ("battery = { charge = nan }\n", "charge = NaN"),
        ("kind = \"robot\"\n", "unknown variant"),
        ("walk = { radius_m = 5.0, speed_m_s = 1.0 }\ntrack = [[0.0, 0.0, 0.0]]\n", "more than one of"),
    ] {
        let error = Scenario::parse(&format!("{GOOD}{more}")).unwrap_err().to_string();
        assert!(error.contains(says) && error.starts_with("line "), "{error}");
    }
    let error = Scenario::parse(&GOOD.replace("exponent = 3.0", "terrain = \"x.asc\"")).unwrap_err();
    assert!(error.to_string().contains("has to be read from a file"), "{error}");
}
