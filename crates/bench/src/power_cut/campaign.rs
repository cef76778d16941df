//! One flash, one story, all cuts.

use std::thread;

use anyhow::{Context as _, Result, anyhow};
use compotastic_bundle::ramflash::Cut;
use indicatif::ProgressBar;

use super::{
    device::{Device, Halt, Map, Story},
    world::{Shape, World},
};

/// Kinds of cuts.
pub const CUTS: [Cut; 10] = [
    Cut::Before,
    Cut::Inside(0),
    Cut::Inside(20),
    Cut::Inside(100),
    Cut::Inside(180),
    Cut::Inside(255),
    Cut::Garbled,
    Cut::Unseen,
    Cut::Fading,
    Cut::After,
];

/// A flash of 1 MiB is put together on the stack.
const STACK: usize = 16 << 20;

/// What came of it.
#[derive(Debug, Default)]
pub struct Count {
    pub operations: u64,
    pub cuts: u64,
    pub pairs: u64,
    pub survived: u64,
    pub failure: Option<String>,
}

/// What a thread found: how many survived, and the first that did not, with its number.
type Share = (u64, Option<(u64, String)>);

/// A planned cut: before which operation, and how.
type Planned = (u64, Cut);

/// A device before a story, and how the story ends without cuts.
pub struct Campaign<const SIZE: usize, const WRITE: usize, const ERASE: usize> {
    world: World,
    map: Map,
    story: Story,
    start: Device<SIZE, WRITE, ERASE>,
    operations: u64,
    seed: u64,
}

/// Runs on a stack that is large enough.
fn deep<T: Send>(act: impl FnOnce() -> T + Send) -> Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, act)?;
        thread.join().map_err(|_| anyhow!("a run panicked"))
    })
}

impl<const SIZE: usize, const WRITE: usize, const ERASE: usize> Campaign<SIZE, WRITE, ERASE> {
    /// Runs the story once without a cut.
    pub fn new(shape: &Shape, story: Story, seed: u64) -> Result<Self> {
        let world = World::new(shape.image_len, shape.coding, seed)?;
        let map = Map::new::<SIZE, WRITE, ERASE>(shape, &world).context("the flash is too small")?;
        let (start, operations) = deep(|| {
            let start = Device::new(&map, &world)?;
            let mut whole = start.clone();
            whole.live(&map, &world, story, 2, 1)?;
            Ok((start.clone(), whole.flash.operations() - start.flash.operations()))
        })?
        .map_err(|halt: Halt| anyhow!("without a cut: {halt}"))?;
        let campaign = Self { world, map, story, start, operations, seed };
        Ok(campaign)
    }

    pub fn world(&self) -> &World {
        &self.world
    }

    /// All single cuts, and so many pairs.
    pub fn run(&self, pairs: u64, bar: &ProgressBar) -> Result<Count> {
        let cuts = self.operations * CUTS.len() as u64;
        bar.set_length(cuts + pairs);
        bar.set_position(0);
        let single = |n: u64| vec![(n / CUTS.len() as u64, CUTS[(n % CUTS.len() as u64) as usize])];
        let plan = |n: u64| if n < cuts { single(n) } else { self.pair(n - cuts) };
        let threads = thread::available_parallelism().map_or(1, usize::from) as u64;
        let results = thread::scope(|scope| -> Result<Vec<Share>> {
            let mut workers = Vec::new();
            for worker in 0..threads {
                let work = move || {
                    let (mut survived, mut failure) = (0, None);
                    for n in (worker..cuts + pairs).step_by(threads as usize) {
                        match self.try_cuts(&plan(n)) {
                            Ok(()) => survived += 1,
                            Err(what) => {
                                failure.get_or_insert_with(|| (n, format!("{:?}: {what}", plan(n))));
                            }
                        }
                        bar.inc(1);
                    }
                    (survived, failure)
                };
                workers.push(thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work)?);
            }
            workers.into_iter().map(|w| w.join().map_err(|_| anyhow!("a run panicked"))).collect()
        })?;
        let survived = results.iter().map(|(survived, _)| survived).sum();
        let first = results.into_iter().filter_map(|(_, failure)| failure).min();
        let failure = first.map(|(_, what)| what);
        Ok(Count { operations: self.operations, cuts, pairs, survived, failure })
    }

    /// A pair of cuts: the second one counts from the restart after the first.
    fn pair(&self, n: u64) -> Vec<Planned> {
        let mut state = self.seed ^ n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut below = |limit: u64| {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            (mixed ^ (mixed >> 29)).wrapping_mul(0x94D0_49BB_1331_11EB) >> 33
        } % limit.max(1);
        let first = below(self.operations);
        // What follows is about what is left, or the few operations of a restart.
        let left = if below(2) == 0 { 40 } else { self.operations - first };
        let mut cut = || CUTS[below(CUTS.len() as u64) as usize];
        let (one, two) = (cut(), cut());
        vec![(first, one), (below(left), two)]
    }

    /// The story with these cuts, then to its end, and then the next update.
    fn try_cuts(&self, cuts: &[Planned]) -> Result<(), Halt> {
        let (map, world, story) = (&self.map, &self.world, self.story);
        let mut device = self.start.clone();
        let mut attempt = 1;
        for (operations, cut) in cuts {
            device.flash.cut_after(*operations, *cut);
            match device.live(map, world, story, 2, attempt) {
                Err(Halt::PowerLost) => {}
                // It came to its end before the cut.
                Ok(()) => {}
                Err(halt) => return Err(halt),
            }
            device.flash.power_on();
            // What a user sees at once. On a copy, since a start counts against a trial.
            device.clone().boot(map, world)?;
            attempt += 1;
        }
        device.live(map, world, story, 2, attempt)?;
        // What only seemed written is gone now.
        device.flash.power_on();
        device.live(map, world, story, 2, attempt + 1)?;
        self.ends_with(&mut device, if story == Story::Confirm { 2 } else { 1 })?;
        // And nothing stays behind that would be in the way of the next one.
        device.live(map, world, Story::Confirm, 3, 1)?;
        self.ends_with(&mut device, 3)
    }

    fn ends_with(&self, device: &mut Device<SIZE, WRITE, ERASE>, sequence: u32) -> Result<(), Halt> {
        let started = device.boot(&self.map, &self.world)?;
        if started.image.sequence == sequence && !started.on_trial {
            return Ok(());
        }
        Err(Halt::Broken(format!("it runs {} in the end, {sequence} is right", started.image.sequence)))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::world::Coding, *};

    #[test]
    fn all_cuts_of_a_small_update_and_pairs_of_them_are_survived() {
        let shape = Shape { name: "test", page: 1024, image_len: 3_000, log_half: 1, coding: Coding::Plain };
        for story in Story::ALL {
            let campaign = Campaign::<32768, 8, 1024>::new(&shape, story, 1).unwrap();
            let count = campaign.run(400, &ProgressBar::hidden()).unwrap();
            println!("{}: {} operations, {} cuts", story.name(), count.operations, count.cuts);
            assert_eq!(count.failure, None, "{}", story.name());
            assert_eq!(count.survived, count.cuts + count.pairs);
            assert!(count.operations > 80, "{}", count.operations);
        }
    }
}
