//! How nodes move: tracks of waypoints, which is what all ways of moving become before a run.

use std::fmt;

use compotastic_mesh::{
    rng::Rng,
    time::{Duration, Instant},
};

use crate::radio::Position;

/// Waypoints of a track at most.
pub const POINTS_MAX: usize = 100_000;
/// Radius of the earth, metres.
pub(crate) const EARTH_M: f64 = 6_371_000.0;

/// Where a node is at what time; between waypoints it goes straight, before the first and after the last it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Track {
    points: Vec<(Instant, Position)>,
}

/// A GPX file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpxError(String);

impl fmt::Display for GpxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; a GPX track has <trkpt lat lon> with <time>", self.0)
    }
}

impl std::error::Error for GpxError {}

fn unit(rng: &mut Rng) -> f64 {
    f64::from(rng.next_u32()) / 4_294_967_296.0
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_micros((seconds.max(0.0) * 1e6) as u64)
}

impl Track {
    /// A track through waypoints whose times do not fall; `None` if there are none, too many, or they do.
    pub fn new(points: Vec<(Instant, Position)>) -> Option<Self> {
        let rises = points.windows(2).all(|pair| pair[0].0 <= pair[1].0);
        (rises && !points.is_empty() && points.len() <= POINTS_MAX).then_some(Self { points })
    }

    /// Where the node is.
    pub fn at(&self, now: Instant) -> Position {
        let next = self.points.partition_point(|(at, _)| *at <= now);
        let Some((from_at, from)) = next.checked_sub(1).map(|before| self.points[before]) else {
            return self.points[0].1;
        };
        let Some((to_at, to)) = self.points.get(next).copied() else { return from };
        let share = now.saturating_duration_since(from_at).as_micros() as f64
            / to_at.saturating_duration_since(from_at).as_micros().max(1) as f64;
        Position { x_m: from.x_m + (to.x_m - from.x_m) * share, y_m: from.y_m + (to.y_m - from.y_m) * share }
    }

    /// A random walk about a place until `until`: to a point drawn within the radius, a rest, and on (random waypoints, after
    /// Johnson and Maltz, 1996).
    pub fn walk(
        home: Position,
        radius_m: f64,
        speed_m_s: f64,
        rest_s: f64,
        until: Instant,
        rng: &mut Rng,
    ) -> Self {
        let mut points = vec![(Instant::ZERO, home)];
        let (mut now, mut here) = (Instant::ZERO, home);
        while now < until && points.len() + 2 <= POINTS_MAX {
            let (angle, distance_m) = (unit(rng) * core::f64::consts::TAU, radius_m * libm::sqrt(unit(rng)));
            let to = Position {
                x_m: home.x_m + distance_m * libm::cos(angle),
                y_m: home.y_m + distance_m * libm::sin(angle),
            };
            now = now + seconds(here.distance_m(&to) / speed_m_s);
            points.push((now, to));
            now = now + seconds(1.0 + rest_s * 2.0 * unit(rng));
            points.push((now, to));
            here = to;
        }
        Self { points }
    }

    /// From place to place and round again until `until`, with a stay at each.
    pub fn visits(start: Position, stops: &[Position], speed_m_s: f64, stay_s: f64, until: Instant) -> Self {
        let mut points = vec![(Instant::ZERO, start)];
        let (mut now, mut here) = (Instant::ZERO, start);
        for to in stops.iter().cycle() {
            if now >= until || points.len() + 2 > POINTS_MAX {
                break;
            }
            now = now + seconds(here.distance_m(to) / speed_m_s);
            points.push((now, *to));
            now = now + seconds(stay_s.max(1.0));
            points.push((now, *to));
            here = *to;
        }
        Self { points }
    }

    /// The track of a GPX file. `origin` (latitude, longitude in degrees) is the place at 0, 0; the first point is there when the
    /// run begins.
    pub fn from_gpx(text: &str, origin: (f64, f64)) -> Result<Self, GpxError> {
        let wrong = |what: String| GpxError(what);
        let document = roxmltree::Document::parse(text).map_err(|error| wrong(error.to_string()))?;
        let mut points = Vec::new();
        let mut first_s = None;
        for node in document.descendants().filter(|node| node.has_tag_name_ignoring_namespace("trkpt")) {
            let line = document.text_pos_at(node.range().start).row;
            let degrees = |name: &str, most: f64| {
                node.attribute(name)
                    .and_then(|value| value.parse::<f64>().ok())
                    .filter(|value| value.abs() <= most)
                    .ok_or_else(|| wrong(format!("line {line}: {name} is not an angle in degrees")))
            };
            let (latitude, longitude) = (degrees("lat", 90.0)?, degrees("lon", 180.0)?);
            let time = node
                .children()
                .find(|child| child.has_tag_name_ignoring_namespace("time"))
                .and_then(|child| child.text())
                .and_then(unix_seconds)
                .ok_or_else(|| wrong(format!("line {line}: no <time> such as 2026-05-01T10:00:00Z")))?;
            let after_s = time - *first_s.get_or_insert(time);
            let at = Instant::ZERO + seconds(after_s);
            if after_s < 0.0 || points.last().is_some_and(|(last, _)| *last > at) {
                return Err(wrong(format!("line {line}: time runs backwards")));
            }
            let radians = |degrees: f64| degrees * core::f64::consts::PI / 180.0;
            let position = Position {
                x_m: radians(longitude - origin.1) * EARTH_M * libm::cos(radians(origin.0)),
                y_m: radians(latitude - origin.0) * EARTH_M,
            };
            points.push((at, position));
        }
        Self::new(points).ok_or_else(|| wrong(format!("no track, or more than {POINTS_MAX} points")))
    }
}

/// Finds tags whatever their namespace: GPX 1.0 and 1.1 differ in it.
trait IgnoreNamespace {
    fn has_tag_name_ignoring_namespace(&self, name: &str) -> bool;
}

impl IgnoreNamespace for roxmltree::Node<'_, '_> {
    fn has_tag_name_ignoring_namespace(&self, name: &str) -> bool {
        self.is_element() && self.tag_name().name() == name
    }
}

/// Seconds since 1970 of a time such as 2026-05-01T10:00:00.5Z (RFC 3339, in UTC).
fn unix_seconds(text: &str) -> Option<f64> {
    let (date, time) = text.trim().strip_suffix('Z')?.split_once('T')?;
    let mut date = date.split('-').map(str::parse::<i64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let mut time = time.split(':');
    let (hour, minute): (i64, i64) = (time.next()?.parse().ok()?, time.next()?.parse().ok()?);
    let second: f64 = time.next()?.parse().ok()?;
    let fits = (1970..3000).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0.0..61.0).contains(&second);
    if !fits {
        return None;
    }
    // Days from the civil calendar, years beginning in March (H. Hinnant, "chrono-compatible low-level date algorithms").
    let shifted = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (shifted / 400, shifted % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some(((days * 24 + hour) * 60 + minute) as f64 * 60.0 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_s(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    fn place(x_m: f64, y_m: f64) -> Position {
        Position { x_m, y_m }
    }

    #[test]
    fn between_waypoints_it_goes_straight() {
        let track = Track::new(vec![(at_s(10), place(0.0, 0.0)), (at_s(20), place(100.0, -50.0))]).unwrap();
        assert_eq!(track.at(at_s(0)), place(0.0, 0.0));
        assert_eq!(track.at(at_s(15)), place(50.0, -25.0));
        assert_eq!(track.at(at_s(99)), place(100.0, -50.0));
        assert!(Track::new(Vec::new()).is_none());
        assert!(Track::new(vec![(at_s(2), place(0.0, 0.0)), (at_s(1), place(0.0, 0.0))]).is_none());
    }

    #[test]
    fn a_walk_keeps_to_its_radius_and_speed() {
        let mut rng = Rng::from_seed(1);
        let home = place(500.0, 500.0);
        let track = Track::walk(home, 300.0, 1.5, 60.0, at_s(36_000), &mut rng);
        let mut farthest: f64 = 0.0;
        for second in 0..36_000 {
            let (here, next) = (track.at(at_s(second)), track.at(at_s(second + 1)));
            let step = next.minus(&here);
            assert!(libm::sqrt(step.x_m * step.x_m + step.y_m * step.y_m) <= 1.51);
            farthest = farthest.max(home.distance_m(&here));
        }
        assert!(farthest <= 301.0 && farthest > 200.0);
    }

    #[test]
    fn a_carrier_visits_each_in_turn() {
        let stops = [place(1000.0, 0.0), place(-1000.0, 0.0)];
        let track = Track::visits(place(0.0, 0.0), &stops, 10.0, 50.0, at_s(1000));
        assert_eq!(track.at(at_s(120)), stops[0]);
        assert_eq!(track.at(at_s(100 + 50 + 200 + 20)), stops[1]);
        assert_eq!(track.at(at_s(100 + 50 + 200 + 50 + 200 + 20)), stops[0], "and round again");
    }

    #[test]
    fn a_gpx_track_is_read_and_a_bad_one_refused() {
        let point = |lat: f64, time: &str| {
            format!("<trkpt lat=\"{lat}\" lon=\"11.0\"><ele>5</ele><time>{time}</time></trkpt>")
        };
        let file = |points: &str| {
            format!(
                "<?xml version=\"1.0\"?><gpx xmlns=\"http://www.topografix.com/GPX/1/1\"><trk><trkseg>\n{points}\n</trkseg></trk></gpx>"
            )
        };
        let good = file(&(point(47.0, "2024-02-28T23:59:50Z") + &point(47.01, "2024-02-29T00:00:10.0Z")));
        let track = Track::from_gpx(&good, (47.0, 11.0)).unwrap();
        let half = track.at(at_s(10));
        assert!(half.x_m.abs() < 1e-6 && (half.y_m - 556.0).abs() < 1.0, "{half:?}");
        for (text, says) in [
            ("<gpx>".to_string(), "expected"),
            (file(""), "no track"),
            (file(&point(99.0, "2024-02-28T23:59:50Z")), "line 2: lat is not"),
            (file(&point(47.0, "yesterday")), "no <time>"),
            (
                file(&(point(47.0, "2024-02-29T00:00:10Z") + &point(47.0, "2024-02-28T23:59:50Z"))),
                "backwards",
            ),
        ] {
            let error = Track::from_gpx(&text, (47.0, 11.0)).unwrap_err().to_string();
            assert!(error.contains(says) || says == "expected", "{error}");
        }
        assert_eq!(unix_seconds("1970-01-01T00:00:00Z"), Some(0.0));
        assert_eq!(unix_seconds("2026-11-23T17:30:59Z"), Some(1_795_455_059.0));
    }
}
