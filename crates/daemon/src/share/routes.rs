//! Which client a packet id belongs to, and what it calls it.

use std::collections::{BTreeMap, VecDeque};

use super::ClientId;

/// Packets that are remembered; the oldest is forgotten.
const REMEMBERED: usize = 4_096;

/// A packet of a client's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Whose it is.
    pub client: ClientId,
    /// Id that the client chose.
    pub theirs: u32,
    /// An admin message that changes the radio: the cache follows when the radio has acknowledged it.
    pub change: Option<Vec<u8>>,
}

/// Packets of clients by the id that they have on the mesh.
#[derive(Debug, Default)]
pub struct Routes {
    by_id: BTreeMap<u32, Route>,
    by_client: BTreeMap<(ClientId, u32), u32>,
    order: VecDeque<u32>,
}

impl Routes {
    /// The id on the mesh for a client's packet: its own where nobody else has it, else a drawn one.
    pub fn assign(&mut self, client: ClientId, theirs: u32, mut draw: impl FnMut() -> u32) -> u32 {
        let mut id = theirs;
        while id == 0 || self.by_id.contains_key(&id) {
            id = draw();
        }
        if self.order.len() == REMEMBERED
            && let Some(oldest) = self.order.pop_front()
            && let Some(route) = self.by_id.remove(&oldest)
        {
            self.by_client.remove(&(route.client, route.theirs));
        }
        self.by_id.insert(id, Route { client, theirs, change: None });
        self.by_client.insert((client, theirs), id);
        self.order.push_back(id);
        id
    }

    /// The packet behind an id.
    pub fn get(&self, id: u32) -> Option<&Route> {
        self.by_id.get(&id)
    }

    /// The packet behind an id, to be changed.
    pub fn get_mut(&mut self, id: u32) -> Option<&mut Route> {
        self.by_id.get_mut(&id)
    }

    /// What is called `theirs` by this client is called so on the mesh.
    pub fn on_the_mesh(&self, client: ClientId, theirs: u32) -> u32 {
        self.by_client.get(&(client, theirs)).copied().unwrap_or(theirs)
    }

    /// What is called `id` on the mesh is called so by this client.
    pub fn at_the_client(&self, client: ClientId, id: u32) -> u32 {
        self.by_id.get(&id).filter(|route| route.client == client).map_or(id, |route| route.theirs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_who_chooses_an_id_gets_another_one_on_the_mesh() {
        let mut routes = Routes::default();
        let (a, b) = (ClientId(1), ClientId(2));
        assert_eq!(routes.assign(a, 5, || 77), 5);
        assert_eq!(routes.assign(b, 5, || 77), 77);
        assert_eq!(routes.get(77).map(|route| (route.client, route.theirs)), Some((b, 5)));
        assert_eq!((routes.on_the_mesh(a, 5), routes.on_the_mesh(b, 5)), (5, 77));
        assert_eq!((routes.at_the_client(b, 77), routes.at_the_client(a, 77)), (5, 77));
    }

    #[test]
    fn the_oldest_is_forgotten() {
        let mut routes = Routes::default();
        for id in 1..=REMEMBERED as u32 + 1 {
            routes.assign(ClientId(1), id, || unreachable!("all differ"));
        }
        assert_eq!(
            (routes.get(1), routes.order.len(), routes.by_client.len()),
            (None, REMEMBERED, REMEMBERED)
        );
    }
}
