//! The map: nodes by role, links by quality, tracks of nodes that moved, a scale bar. North is up.

use std::{collections::BTreeMap, fmt::Write as _};

use compotastic_sim::{radio::Position, recording::LinkRow, scenario::Run};

use super::sheet::{Mark, Sheet, WIDTH, text_width};
use crate::svg::{escape, nice_step, short};

/// Space around the nodes.
const MARGIN: f64 = 48.0;
/// Height of the map's part of the drawing, at least and at most.
const HEIGHT: (f64, f64) = (150.0, 800.0);
/// Where there are more links than this, only the best of each node are drawn: all of them would hide the nodes.
const LINKS_MAX: usize = 1500;
/// So many of each node, then.
const BEST_OF_NODE: usize = 4;
/// Names that were only drawn up, such as "node 17", are shown up to so many nodes.
const NUMBERED_NAMES_MAX: usize = 60;
/// Names, at most: more are not read.
const NAMES_MAX: usize = 120;

/// Classes of links: packets that pass at least, thousandths; attributes; name.
const CLASSES: [(u32, &str, &str); 3] = [
    (900, r##"stroke="#2f9e73" stroke-width="1.8" stroke-opacity=".75""##, "90 % of packets pass, or more"),
    (500, r##"stroke="#3b7dd8" stroke-width="1.3" stroke-opacity=".65""##, "50 to 90 %"),
    (100, r##"stroke="#8a94a3" stroke-width="1" stroke-opacity=".6" stroke-dasharray="3 4""##, "10 to 50 %"),
];
/// Metres to user units.
struct View {
    west_m: f64,
    north_m: f64,
    scale: f64,
    left: f64,
    top: f64,
    height: f64,
}

impl View {
    fn around(places: impl Iterator<Item = Position>, top: f64) -> Self {
        let mut bounds = [f64::INFINITY, f64::NEG_INFINITY, f64::INFINITY, f64::NEG_INFINITY];
        for place in places {
            bounds[0] = bounds[0].min(place.x_m);
            bounds[1] = bounds[1].max(place.x_m);
            bounds[2] = bounds[2].min(place.y_m);
            bounds[3] = bounds[3].max(place.y_m);
        }
        let [west_m, east_m, south_m, north_m] =
            if bounds[0].is_finite() { bounds } else { [0.0, 1.0, 0.0, 1.0] };
        let (x_span, y_span) = ((east_m - west_m).max(1.0), (north_m - south_m).max(1.0));
        let inner = WIDTH - 2.0 * MARGIN;
        let scale = (inner / x_span).min((HEIGHT.1 - 2.0 * MARGIN) / y_span);
        let height = (y_span * scale + 2.0 * MARGIN).max(HEIGHT.0);
        Self {
            west_m,
            north_m,
            scale,
            left: MARGIN + (inner - x_span * scale) / 2.0,
            top: top + (height - y_span * scale) / 2.0,
            height,
        }
    }

    fn at(&self, place: Position) -> (f64, f64) {
        (
            self.left + (place.x_m - self.west_m) * self.scale,
            self.top + (self.north_m - place.y_m) * self.scale,
        )
    }
}

/// A node's mark around the origin: shape and colour by role.
fn mark(role: &str, radius: f64, off: bool) -> String {
    const OTHERS: [&str; 4] = ["#9c6fc4", "#d4a017", "#4aa8b8", "#b5485d"];
    let (shape, colour) = match role {
        "client" => ("circle", "#1f7a5c"),
        "client-mute" => ("circle", "#8a94a3"),
        "router" => ("square", "#c2571a"),
        "edge" => ("diamond", "#c2571a"),
        other => ("circle", OTHERS[other.bytes().map(usize::from).sum::<usize>() % OTHERS.len()]),
    };
    let paint = if off {
        format!(r#"fill="var(--bg)" stroke="{colour}" stroke-width="1.5""#)
    } else {
        format!(r#"fill="{colour}" stroke="var(--bg)" stroke-width="{:.1}""#, (radius / 5.0).min(1.2))
    };
    match shape {
        "square" => {
            format!(r#"<rect x="-{radius}" y="-{radius}" width="{0}" height="{0}" {paint}/>"#, 2.0 * radius)
        }
        "diamond" => {
            let r = radius * 1.4;
            format!(r#"<path d="M0 -{r:.1}L{r:.1} 0L0 {r:.1}L-{r:.1} 0Z" {paint}/>"#)
        }
        _ => format!(r#"<circle r="{radius}" {paint}/>"#),
    }
}

/// A line on the map, user units.
type Segment = ((f64, f64), (f64, f64));

/// Whether a line passes through a box of left, top, right, bottom: clipping after Liang and Barsky.
fn crosses(segment: &Segment, area: &[f64; 4]) -> bool {
    let ((x, y), (x2, y2)) = *segment;
    let (mut enters, mut leaves) = (0.0f64, 1.0f64);
    let (dx, dy) = (x2 - x, y2 - y);
    for (step, room) in [(-dx, x - area[0]), (dx, area[2] - x), (-dy, y - area[1]), (dy, area[3] - y)] {
        if step == 0.0 {
            if room < 0.0 {
                return false;
            }
        } else if step < 0.0 {
            enters = enters.max(room / step);
        } else {
            leaves = leaves.min(room / step);
        }
    }
    enters <= leaves
}

/// Finds places for names where they cover neither nodes nor each other, and as few links as possible.
struct Names {
    taken: Vec<[f64; 4]>,
    links: Vec<Segment>,
}

impl Names {
    fn place(&mut self, x: f64, y: f64, radius: f64, width: f64, height: (f64, f64)) -> Option<(f64, f64)> {
        let gap = radius + 4.0;
        let starts = [
            (x + gap, y + 4.0),
            (x - width / 2.0, y - gap - 2.0),
            (x - width / 2.0, y + gap + 10.0),
            (x - gap - width, y + 4.0),
            (x + gap, y - gap),
            (x + gap, y + gap + 8.0),
        ];
        let area = |(left, base): (f64, f64)| [left, base - 11.0, left + width, base + 3.0];
        let is_free = |own: &[f64; 4]| {
            let inside = own[0] > 2.0 && own[2] < WIDTH - 2.0 && own[1] > height.0 && own[3] < height.1;
            inside
                && !self.taken.iter().any(|other| {
                    own[0] < other[2] && other[0] < own[2] && own[1] < other[3] && other[1] < own[3]
                })
        };
        let free = starts
            .into_iter()
            .filter(|start| is_free(&area(*start)))
            .min_by_key(|start| self.links.iter().filter(|link| crosses(link, &area(*start))).count())?;
        self.taken.push(area(free));
        Some(free)
    }
}

/// The links that are drawn: all, or the best of each node and those without which parts of the mesh would seem apart.
fn chosen(run: &Run) -> Vec<LinkRow> {
    let links = &run.header.links;
    if links.len() <= LINKS_MAX {
        return links.clone();
    }
    let nodes = &run.header.nodes;
    let length =
        |link: &LinkRow| nodes[link.from as usize].position().distance_m(&nodes[link.to as usize].position());
    let mut best_first: Vec<(LinkRow, f64)> = links.iter().map(|link| (*link, length(link))).collect();
    best_first.sort_by(|(a, a_m), (b, b_m)| {
        b.reception_permille.cmp(&a.reception_permille).then(a_m.total_cmp(b_m))
    });
    let mut drawn = vec![0; nodes.len()];
    // Each node's part of the mesh so far, named by one of its nodes.
    let mut part: Vec<usize> = (0..nodes.len()).collect();
    fn root(part: &mut [usize], mut node: usize) -> usize {
        while part[node] != node {
            part[node] = part[part[node]];
            node = part[node];
        }
        node
    }
    best_first.retain(|(link, _)| {
        let ends = [link.from as usize, link.to as usize];
        let roots = ends.map(|end| root(&mut part, end));
        part[roots[0]] = roots[1];
        let wanted = roots[0] != roots[1] || ends.iter().any(|end| drawn[*end] < BEST_OF_NODE);
        if wanted {
            ends.iter().for_each(|end| drawn[*end] += 1);
        }
        wanted
    });
    best_first.into_iter().map(|(link, _)| link).collect()
}

/// Draws links; as lines again, for names to keep clear of.
fn links(sheet: &mut Sheet, view: &View, run: &Run, chosen: &[LinkRow]) -> Vec<Segment> {
    let mut segments = Vec::new();
    for (index, (least, attributes, _)) in CLASSES.iter().enumerate().rev() {
        let below = if index == 0 { u32::MAX } else { CLASSES[index - 1].0 };
        let mut path = String::new();
        for link in chosen.iter().filter(|link| (*least..below).contains(&link.reception_permille)) {
            let [from, to] =
                [link.from, link.to].map(|end| view.at(run.header.nodes[end as usize].position()));
            let _ = write!(path, "M{:.1} {:.1}L{:.1} {:.1}", from.0, from.1, to.0, to.1);
            segments.push((from, to));
        }
        let _ = write!(sheet.out, r#"<path fill="none" {attributes} d="{path}"/>"#);
    }
    segments
}

fn tracks(sheet: &mut Sheet, view: &View, run: &Run) {
    for (node, track) in &run.tally.tracks {
        let Some(row) = run.header.nodes.get(*node as usize) else { continue };
        let mut path = String::new();
        let mut last = None;
        for place in std::iter::once(row.position()).chain(track.iter().map(|(_, place)| *place)) {
            let (x, y) = view.at(place);
            // Steps that cannot be seen would only make the file longer.
            if last.is_none_or(|(lx, ly): (f64, f64)| (x - lx).abs() + (y - ly).abs() > 0.5) {
                let _ = write!(path, "{}{x:.1} {y:.1}", if last.is_none() { 'M' } else { 'L' });
                last = Some((x, y));
            }
        }
        let _ = write!(
            sheet.out,
            r##"<path fill="none" stroke="#d4a017" stroke-width="1.8" stroke-opacity=".85" d="{path}"><title>track of {}</title></path>"##,
            escape(&row.name)
        );
        if let Some((x, y)) = last {
            let _ = write!(sheet.out, r##"<circle cx="{x:.1}" cy="{y:.1}" r="3" fill="#d4a017"/>"##);
        }
    }
}

fn scale_bar(sheet: &mut Sheet, view: &View, y: f64) {
    let length_m = nice_step(WIDTH / view.scale);
    let right = 24.0 + length_m * view.scale;
    let label = format!("{} km", short_km(length_m));
    let _ = write!(
        sheet.out,
        r#"<path class="scale" fill="none" d="M24 {0:.1}V{y:.1}H{right:.1}V{0:.1}"/><text x="{1:.1}" y="{2:.1}" class="value">{label}</text>"#,
        y - 6.0,
        right + 8.0,
        y + 2.0
    );
    let x = WIDTH - 30.0;
    let _ = write!(
        sheet.out,
        r#"<path class="scale" fill="none" d="M{x} {0:.1}V{1:.1}M{2} {3:.1}L{x} {1:.1}L{4} {3:.1}"/><text x="{5}" y="{6:.1}" class="value">N</text>"#,
        y + 4.0,
        y - 18.0,
        x - 5.0,
        y - 11.0,
        x + 5.0,
        x - 16.0,
        y
    );
}

fn short_km(metres: f64) -> String {
    if metres < 10.0 { format!("{:.3}", metres / 1000.0) } else { short(metres / 1000.0) }
}

/// Draws it.
pub fn draw(run: &Run) -> String {
    let nodes = &run.header.nodes;
    let is_off = |id: usize| {
        let last = run.tally.switched.get(&(id as u32)).and_then(|times| times.last());
        last.is_some_and(|(_, on)| !on)
    };
    let mut roles: BTreeMap<&str, usize> = BTreeMap::new();
    nodes.iter().for_each(|node| *roles.entry(&node.role).or_default() += 1);
    let radius = match nodes.len() {
        0..=40 => 6.0,
        41..=250 => 4.0,
        _ => 2.2,
    };
    let chosen = chosen(run);
    let which = if chosen.len() < run.header.links.len() {
        format!("; of the links, the {BEST_OF_NODE} best of each node, and what joins them, are drawn")
    } else {
        String::new()
    };
    let subtitle =
        format!("{}, seed {}; places and links at the start{which}", run.header.title, run.header.seed);
    let mut sheet = Sheet::new(&format!("Map of {} nodes", nodes.len()), &subtitle);
    let mut entries: Vec<(Mark<'_>, String)> = roles
        .iter()
        .map(|(role, count)| (Mark::Drawn(mark(role, 5.0, false)), format!("{role} ({count})")))
        .collect();
    if (0..nodes.len()).any(is_off) {
        entries.push((Mark::Drawn(mark("client", 5.0, true)), "off at the end".to_string()));
    }
    if !run.tally.tracks.is_empty() {
        entries.push((Mark::Line(r##"stroke="#d4a017" stroke-width="2""##), "track".to_string()));
    }
    let mut above = u32::MAX;
    for (least, attributes, name) in &CLASSES {
        let count =
            run.header.links.iter().filter(|link| (*least..above).contains(&link.reception_permille)).count();
        if count > 0 {
            let links = if count == 1 { "link" } else { "links" };
            entries.push((Mark::Line(attributes), format!("{name} ({count} {links})")));
        }
        above = *least;
    }
    let top = sheet.legend(entries);
    let moved = run.tally.tracks.values().flatten().map(|(_, place)| *place);
    let view = View::around(nodes.iter().map(|node| node.position()).chain(moved), top);
    let lines = links(&mut sheet, &view, run, &chosen);
    tracks(&mut sheet, &view, run);
    // Among many nodes, the few names may cover some.
    let numbered = nodes.len() <= NUMBERED_NAMES_MAX;
    let mut names = Names { taken: Vec::new(), links: lines };
    // Few among many stand out: larger, and above the others.
    let stands_out =
        |id: usize| nodes.len() > NUMBERED_NAMES_MAX && roles[nodes[id].role.as_str()] * 10 < nodes.len();
    let mut drawing_order: Vec<usize> = (0..nodes.len()).collect();
    drawing_order.sort_by_key(|id| stands_out(*id));
    for id in drawing_order {
        let node = &nodes[id];
        let (x, y) = view.at(node.position());
        let radius = if stands_out(id) { radius * 1.6 } else { radius };
        if numbered {
            names.taken.push([x - radius - 1.0, y - radius - 1.0, x + radius + 1.0, y + radius + 1.0]);
        }
        let _ = write!(
            sheet.out,
            r#"<g transform="translate({x:.1} {y:.1})">{}<title>{} ({}), antenna {} m, {} dBi</title></g>"#,
            mark(&node.role, radius, is_off(id)),
            escape(&node.name),
            escape(&node.role),
            short(node.height_cm as f64 / 100.0),
            short(node.gain_cdbi as f64 / 100.0)
        );
    }
    // Who stands out gets a name first: other roles than most, then names that somebody gave.
    let drawn = |name: &str| name.strip_prefix("node ").is_some_and(|rest| rest.parse::<u32>().is_ok());
    let mut order: Vec<usize> = (0..nodes.len()).filter(|id| numbered || !drawn(&nodes[*id].name)).collect();
    order.sort_by_key(|id| (roles[nodes[*id].role.as_str()], drawn(&nodes[*id].name)));
    let bottom = top + view.height;
    let mut named = 0;
    for id in order {
        if named == NAMES_MAX {
            break;
        }
        let (x, y) = view.at(nodes[id].position());
        let name = &nodes[id].name;
        if let Some((x, y)) = names.place(x, y, radius, text_width(name), (top, bottom)) {
            let _ = write!(sheet.out, r#"<text x="{x:.1}" y="{y:.1}" class="name">{}</text>"#, escape(name));
            named += 1;
        }
    }
    scale_bar(&mut sheet, &view, bottom + 22.0);
    sheet.finish(bottom + 40.0)
}
