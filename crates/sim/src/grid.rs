//! Which nodes are near enough to matter: squares as wide as the farthest link, so that cost follows the density, not the
//! number of nodes squared.

use std::collections::HashMap;

use crate::{NodeId, radio::Position};

/// The squares.
#[derive(Debug)]
pub(crate) struct Grid {
    side_m: f64,
    squares: HashMap<(i64, i64), Vec<NodeId>>,
}

impl Grid {
    pub(crate) fn new(reach_m: f64) -> Self {
        Self { side_m: reach_m.max(1.0), squares: HashMap::new() }
    }

    fn square(&self, position: &Position) -> (i64, i64) {
        let index = |metres: f64| libm::floor(metres / self.side_m) as i64;
        (index(position.x_m), index(position.y_m))
    }

    pub(crate) fn add(&mut self, id: NodeId, position: &Position) {
        let square = self.square(position);
        self.squares.entry(square).or_default().push(id);
    }

    pub(crate) fn remove(&mut self, id: NodeId, position: &Position) {
        let square = self.square(position);
        if let Some(nodes) = self.squares.get_mut(&square) {
            nodes.retain(|other| *other != id);
        }
    }

    /// Nodes that may be in reach of a position, by rising number.
    pub(crate) fn near(&self, position: &Position) -> Vec<NodeId> {
        let (x, y) = self.square(position);
        let mut near: Vec<NodeId> = (-1..=1)
            .flat_map(|dx| (-1..=1).map(move |dy| (x + dx, y + dy)))
            .filter_map(|square| self.squares.get(&square))
            .flatten()
            .copied()
            .collect();
        near.sort_unstable();
        near
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_in_reach_is_near() {
        let mut grid = Grid::new(100.0);
        let at = |x_m: f64, y_m: f64| Position { x_m, y_m };
        for (id, x) in [-250.0, -99.0, -1.0, 0.0, 99.0, 101.0, 350.0].into_iter().enumerate() {
            grid.add(id, &at(x, -5.0));
        }
        let near = grid.near(&at(0.0, 5.0));
        for id in [1, 2, 3, 4] {
            assert!(near.contains(&id), "{id}");
        }
        assert!(!near.contains(&0) && !near.contains(&6));
        assert!(near.is_sorted());
    }
}
