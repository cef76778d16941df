//! Plots of a run, from its books alone, so that a run and a recording of it give the same ones.

mod airtime;
mod delivery;
mod map;
mod page;
mod sheet;
mod spread;

pub use sheet::traffic_colour;

use std::path::Path;

use anyhow::{Context as _, Result};
use compotastic_daemon::cli::output;
use compotastic_sim::scenario::Run;

/// A drawing, or why there is none.
type Drawing = Result<String, &'static str>;

/// Writes all plots of a run into a folder, which is made where it is missing; names of the files and notes on those that
/// were left out.
pub fn write(folder: &Path, run: &Run) -> Result<Vec<String>> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder for plots {}", folder.display()))?;
    let drawings: [(&str, &str, Drawing); 4] = [
        ("map", "Map", Ok(map::draw(run))),
        ("airtime", "Air time", Ok(airtime::draw(run))),
        ("spread", "Spread of objects", spread::draw(run)),
        ("delivery", "Delivery", delivery::draw(run)),
    ];
    let mut notes = Vec::new();
    let save = |name: &str, content: &str| {
        let path = folder.join(name);
        output::write(&path, content.as_bytes(), [])
    };
    for (name, _, drawing) in &drawings {
        let file = format!("{name}.svg");
        match drawing {
            Ok(svg) => {
                save(&file, svg)?;
                notes.push(file);
            }
            Err(why) => {
                // One of an earlier run must not pass for this run's.
                if folder.join(&file).exists() {
                    std::fs::remove_file(folder.join(&file))
                        .with_context(|| format!("cannot remove the old {file}"))?;
                }
                notes.push(format!("no {file}: {why}"));
            }
        }
    }
    let parts: Vec<_> = drawings.iter().map(|(_, title, drawing)| (*title, drawing.as_deref())).collect();
    save("report.html", &page::render(run, &parts))?;
    notes.push("report.html".to_string());
    Ok(notes)
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use compotastic_mesh::{
        crypto::Channel,
        lora::{Preset, Region},
        time::{Duration, Instant},
    };
    use compotastic_sim::{
        log::EventLog,
        radio::Position,
        recording::{Body, Header, LinkRow, NodeRow, Record, Recorder, Source, replay},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no writer panicked").write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A run with all that plots show; `nodes` of them, and events only where there is one.
    fn made(nodes: u32) -> Run {
        let node = |id: u32| NodeRow {
            number: id + 1,
            name: format!("<b>{id}</b>"),
            role: ["client", "router", "edge", "tracker"][id as usize % 4].into(),
            x_cm: i64::from(id) * 90_000,
            y_cm: i64::from(id % 3) * 70_000,
            height_cm: 200,
            gain_cdbi: 200,
        };
        let header = Header {
            source: Source::Scenario(String::new()),
            title: "<i>made</i>".into(),
            seed: 1,
            preset: Preset::LongFast,
            region: Region::Eu868,
            end: Instant::ZERO + Duration::from_secs(3600),
            bin: Duration::from_secs(60),
            channels: vec![Channel::new("LongFast", &[1]).expect("a channel")],
            nodes: (0..nodes).map(node).collect(),
            links: (1..nodes)
                .map(|to| LinkRow { from: to - 1, to, reception_permille: 200 + 300 * (to % 3) })
                .collect(),
        };
        let file = Shared::default();
        let recorder = Recorder::new(file.clone(), &header).expect("memory is writable");
        let mut log = EventLog::default();
        let numbers = header.nodes.iter().map(|node| node.number).collect();
        log.begin(numbers, Some(Box::new(recorder))).expect("nothing came before");
        let mut note = |second: u64, node: u32, record: &Record| {
            if node < nodes {
                log.note(Instant::ZERO + Duration::from_secs(second), node as usize, record);
            }
        };
        note(10, 0, &Record::MessageSent { message: 0, to: None, length: 9, want_ack: false, late_us: 0 });
        for step in 0u32..40 {
            let (x_m, y_m) = (900.0 + f64::from(step * 60), 700.0 + f64::from(step % 9 * 90));
            note(20 + u64::from(step), 1, &Record::moved(Position { x_m, y_m }));
        }
        note(70, 1, &Record::MessageReceived { message: 0, hops: 1 });
        note(80, 3, &Record::Off);
        for id in 0..nodes.min(5) {
            let object = 0xABCD + id % 2;
            note(100 + u64::from(id) * 60, id, &Record::ObjectProgress { object, percent: 100 });
            note(101 + u64::from(id) * 60, id, &Record::ObjectInstalled { object, version: 7 });
        }
        if nodes > 0 {
            log.push(Instant::ZERO + Duration::from_secs(600), 0, Body::Transmit { frame: &[7; 60] });
        }
        log.finish().expect("memory is writable");
        let bytes = file.0.lock().expect("no writer panicked").clone();
        replay(&bytes).expect("what was recorded can be read")
    }

    fn folder(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("compotastic-plots-{}-{name}", std::process::id()))
    }

    #[test]
    fn all_plots_show_what_was_told_and_names_cannot_break_out() {
        let folder = folder("all");
        let notes = write(&folder, &made(6)).expect("plots are written");
        assert_eq!(notes, ["map.svg", "airtime.svg", "spread.svg", "delivery.svg", "report.html"]);
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("it was written");
        let map = read("map.svg");
        for part in
            ["track of", "off at the end", "router (2)", "tracker (1)", "edge (1)", " km<", "&lt;b&gt;4"]
        {
            assert!(map.contains(part), "{part}");
        }
        let spread = read("spread.svg");
        assert!(spread.contains("0000abcd, version 7: 3 nodes") && spread.contains("0000abce"), "{spread}");
        assert!(read("airtime.svg").contains("25 %"));
        for name in notes {
            let text = read(&name);
            assert!(!text.contains("<b>") && !text.contains("<i>") && !text.contains("NaN"), "{name}");
            // One address only, which is a name and is not fetched.
            let addresses = text.matches("http").count();
            assert_eq!(addresses, text.matches("http://www.w3.org/2000/svg").count(), "{name}");
        }
        std::fs::remove_dir_all(folder).expect("it is ours");
    }

    #[test]
    fn what_there_is_nothing_to_say_of_is_left_out_and_an_old_one_goes() {
        let folder = folder("few");
        write(&folder, &made(6)).expect("plots are written");
        for nodes in [1, 0] {
            let run = made(nodes);
            let notes = write(&folder, &run).expect("plots are written").join("; ");
            assert!(notes.contains("no delivery.svg: nobody"), "{notes}");
            assert!(!folder.join("delivery.svg").exists());
            let map = std::fs::read_to_string(folder.join("map.svg")).expect("it was written");
            assert!(!map.contains("NaN") && !map.contains("inf"), "{map}");
        }
        assert!(!folder.join("spread.svg").exists());
        std::fs::remove_dir_all(folder).expect("it is ours");
    }
}
