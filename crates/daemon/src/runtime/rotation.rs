//! Key rotation in the daemon: what is kept over restarts, the operator's plan, and the radio's channel.
//!
//! `compotastic swarm rotate` leaves a [`Plan`] in the store, by way of the daemon where it runs. The daemon asks the members for their keys, makes a
//! record for each of those that remain, brings it there, and changes with them ([`compotastic_node::keys`]). The first key that a member
//! tells is the one that it is known by; whoever tells another later is not believed.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, anyhow, bail};
use compotastic_links::RadioInfo;
use compotastic_mesh::{
    crypto::Channel,
    packet::NodeNum,
    pkc::KeyPair,
    time::{Duration, Instant},
};
use compotastic_node::{
    AgentEvent,
    keys::{EpochKeys, Identity, Rollout, Say},
};
use compotastic_wire::{
    SwarmKey,
    records::{
        enrolment::EnrolmentRecord,
        rotation::{MAX_ROTATION, NewKeys, Rotation, RotationHead},
    },
};
use ed25519_dalek::{Signer as _, SigningKey};
use serde::{Deserialize, Serialize};

use super::{
    book::node_id,
    core::{Core, Mode, Output},
};
use crate::{
    seam::{RotationView, SwarmView},
    store::Store,
    swarm::{
        self,
        slot::{Slot, set_channel},
    },
};

/// Members of a swarm that a rotation can reach.
const MEMBERS: usize = 64;
/// The members are asked for their keys again after this time.
const ASK_EVERY: Duration = Duration::from_secs(600);
/// So long keys are collected at most; then those go out whose keys are known.
const COLLECT: Duration = Duration::from_secs(3600);
const KEY_PLAN: &str = "rotation plan";
const KEY_SECRET: &str = "member private key";
const KEY_PENDING: &str = "rotation pending";
const KEY_NUMBER: &str = "rotation number";
const KEY_MEMBERS: &str = "member keys";
const KEY_OLD_CHANNEL: &str = "previous channel key";

/// What an operator wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Number of the rotation: seconds since 1970 when it was planned.
    pub number: u32,
    /// The new epoch.
    pub epoch: u8,
    /// The new swarm key.
    swarm_key: [u8; 16],
    /// The new channel key.
    channel_key: [u8; 32],
    /// The keys come into force at the latest then, milliseconds since 1970.
    pub deadline_ms: u64,
    /// Nodes that get none.
    pub without: Vec<u32>,
    /// Members whose receipt has come.
    pub received: Vec<u32>,
}

impl Plan {
    /// A rotation of the joined swarm.
    pub fn new(swarm: &EnrolmentRecord, without: Vec<u32>, now_ms: u64, hours: u32) -> Result<Self> {
        let mut keys = [0; 48];
        getrandom::fill(&mut keys).context("the system gives no random numbers")?;
        let (swarm_key, channel_key) = keys.split_at(16);
        Ok(Self {
            number: (now_ms / 1000).min(u64::from(u32::MAX)) as u32,
            epoch: swarm.epoch.wrapping_add(1),
            swarm_key: swarm_key.try_into()?,
            channel_key: channel_key.try_into()?,
            deadline_ms: now_ms + u64::from(hours) * 3_600_000,
            without,
            received: Vec::new(),
        })
    }

    /// As it is shown.
    pub fn view(&self, phase: &str, now_ms: u64) -> RotationView {
        RotationView {
            epoch: self.epoch,
            phase: phase.to_owned(),
            deadline_s: self.deadline_ms.saturating_sub(now_ms) / 1000,
            without: self.without.iter().copied().map(node_id).collect(),
            received: self.received.iter().copied().map(node_id).collect(),
        }
    }

    fn keys(&self) -> NewKeys {
        NewKeys { swarm_key: SwarmKey(self.swarm_key), channel_key: self.channel_key }
    }
}

/// The plan that is under way.
pub fn plan(store: &Store) -> Result<Option<Plan>> {
    store.get(KEY_PLAN)
}

/// Begins a rotation, or (none) gives it up.
pub fn set_plan(store: &Store, plan: Option<&Plan>) -> Result<()> {
    match plan {
        Some(plan) => store.set(KEY_PLAN, plan),
        None => store.unset(KEY_PLAN).map(|_| ()),
    }
}

/// Plans new keys for all members but some; the plan is in the store.
///
/// Errors: no swarm is joined, the operator's key is not here, or a rotation is under way.
pub fn begin(store: &Store, without: Vec<u32>, now_ms: u64, hours: u32) -> Result<Plan> {
    let swarm = swarm::joined(store)?.context("no swarm is joined here")?;
    swarm::operator(store)?;
    if let Some(plan) = plan(store)? {
        bail!(
            "a rotation to epoch {} is under way, with {} receipts: wait for it, or `compotastic swarm rotate --give-up`",
            plan.epoch,
            plan.received.len()
        );
    }
    let plan = Plan::new(&swarm, without, now_ms, hours)?;
    set_plan(store, Some(&plan))?;
    Ok(plan)
}

/// Keys that wait, as they are kept.
#[derive(Serialize, Deserialize)]
struct Pending {
    epoch: u8,
    number: u32,
    swarm_key: [u8; 16],
    channel_key: [u8; 32],
    switch_ms: u64,
}

/// The operator's side while it runs.
pub(super) struct Running {
    plan: Plan,
    started: Instant,
    asked: Option<Instant>,
    rollout: Option<Rollout<MEMBERS>>,
}

fn instant(now: Instant, now_ms: u64, at_ms: u64) -> Instant {
    now + Duration::from_millis(at_ms.saturating_sub(now_ms))
}

fn pinned(store: &Store) -> Result<BTreeMap<u32, [u8; 32]>> {
    Ok(store.get(KEY_MEMBERS)?.unwrap_or_default())
}

impl Core {
    /// Who this node is to its operators, and what waited before a restart.
    pub(super) fn enrol(&mut self, now: Instant) -> Result<()> {
        let Some(swarm) = self.options.swarm.clone() else { return Ok(()) };
        let secret = match self.store.get::<[u8; 32]>(KEY_SECRET)? {
            Some(secret) => secret,
            None => {
                let mut secret = [0; 32];
                getrandom::fill(&mut secret).context("the system gives no random numbers")?;
                self.store.set(KEY_SECRET, &secret)?;
                secret
            }
        };
        let identity = Identity {
            swarm_id: swarm.swarm_id,
            secret,
            public: *KeyPair::from_private(secret).public(),
            operators: swarm.operator_keys.clone(),
            last_number: self.store.get(KEY_NUMBER)?.unwrap_or(0),
        };
        let now_ms = (self.wall)();
        let pending = self.store.get::<Pending>(KEY_PENDING)?.map(|pending| EpochKeys {
            epoch: pending.epoch,
            number: pending.number,
            keys: NewKeys { swarm_key: SwarmKey(pending.swarm_key), channel_key: pending.channel_key },
            switch_at: instant(now, now_ms, pending.switch_ms),
        });
        let pending = pending.filter(|pending| pending.epoch == swarm.epoch.wrapping_add(1));
        self.rotation =
            plan(&self.store)?.filter(|plan| plan.epoch == swarm.epoch.wrapping_add(1)).map(|plan| {
                tracing::info!(number = plan.number, "goes on with a rotation of the swarm's keys");
                Running { plan, started: now, asked: None, rollout: None }
            });
        if let Some(agent) = self.mode.agent() {
            agent.set_identity(identity, pending);
        }
        Ok(())
    }

    /// The joined swarm, for people: no key is in it.
    pub(super) fn swarm_view(&self) -> Option<SwarmView> {
        let swarm = self.options.swarm.as_ref()?;
        let now_ms = (self.wall)();
        let nodes = self.book.views().into_iter();
        let rotation = match &self.rotation {
            Some(running) => {
                let phase = match (&running.rollout, running.asked) {
                    (Some(_), _) => "bringing",
                    (None, Some(_)) => "asking",
                    (None, None) => "planned",
                };
                Some(running.plan.view(phase, now_ms))
            }
            // Before the radio has told who it is.
            None => plan(&self.store).ok().flatten().map(|plan| plan.view("planned", now_ms)),
        };
        Some(SwarmView {
            name: swarm.channel_name.to_string(),
            epoch: swarm.epoch,
            operator: swarm::operator(&self.store).is_ok(),
            members: nodes.filter(|node| node.member).collect(),
            rotation,
        })
    }

    /// New keys for all members but some, from now on.
    pub(super) fn begin_rotation(
        &mut self,
        now: Instant,
        without: Vec<u32>,
        hours: u32,
    ) -> Result<SwarmView> {
        if without.contains(&self.own) {
            bail!("{} is this node itself, which makes the new keys: name another one", node_id(self.own));
        }
        let plan = begin(&self.store, without, (self.wall)(), hours)?;
        tracing::info!(epoch = plan.epoch, without = ?plan.without, "begins a rotation of the swarm's keys");
        // A node that only listens goes on with it when it has an agent (`enrol`).
        if self.mode.agent_ref().is_some() {
            self.rotation = Some(Running { plan, started: now, asked: None, rollout: None });
            self.advance_rotation(now);
        }
        self.swarm_view().context("no swarm is joined here")
    }

    /// No member gets new keys any more. Those that have them change at the deadline.
    pub(super) fn give_up_rotation(&mut self) -> Result<()> {
        if plan(&self.store)?.is_none() {
            bail!("no rotation is under way: `compotastic swarm members` shows how the swarm stands");
        }
        set_plan(&self.store, None)?;
        self.rotation = None;
        tracing::info!("the rotation of the swarm's keys is given up");
        Ok(())
    }

    fn keep_pending(&mut self, now: Instant) -> Result<()> {
        let now_ms = (self.wall)();
        let Some(agent) = self.mode.agent() else { return Ok(()) };
        let number = agent.last_rotation();
        let pending = agent.pending_keys().map(|pending| Pending {
            epoch: pending.epoch,
            number: pending.number,
            swarm_key: pending.keys.swarm_key.0,
            channel_key: pending.keys.channel_key,
            switch_ms: now_ms + pending.switch_at.saturating_duration_since(now).as_millis(),
        });
        self.store.set(KEY_NUMBER, &number)?;
        match pending {
            Some(pending) => self.store.set(KEY_PENDING, &pending),
            None => self.store.unset(KEY_PENDING).map(|_| ()),
        }
    }

    /// What the agent tells about keys.
    pub(super) fn handle_key_event(&mut self, now: Instant, event: AgentEvent) {
        let done = match event {
            AgentEvent::NodeKey { from, public } => self.pin(from.0, public),
            AgentEvent::KeysPending { epoch } => {
                tracing::info!(epoch, "the keys of the next epoch are here");
                self.keep_pending(now)
            }
            AgentEvent::KeyReceipt { from, number, .. } => self.handle_receipt(from, number),
            AgentEvent::KeysSwitched { epoch, channel_key } => self.handle_switched(now, epoch, channel_key),
            _ => Ok(()),
        };
        if let Err(error) = done {
            tracing::error!("{error:#}");
        }
    }

    /// The first key that a member tells is the one that it is known by.
    fn pin(&mut self, num: u32, public: [u8; 32]) -> Result<()> {
        let mut keys = pinned(&self.store)?;
        match keys.get(&num) {
            Some(known) if *known == public => return Ok(()),
            Some(_) => {
                tracing::warn!(node = node_id(num), "tells another key than before; it is not believed");
                return Ok(());
            }
            None => {}
        }
        keys.insert(num, public);
        self.store.set(KEY_MEMBERS, &keys)
    }

    fn handle_receipt(&mut self, from: NodeNum, number: u32) -> Result<()> {
        let Some(running) = &mut self.rotation else { return Ok(()) };
        if number != running.plan.number || running.plan.received.contains(&from.0) {
            return Ok(());
        }
        if let Some(rollout) = &mut running.rollout {
            rollout.handle_receipt(from, number);
        }
        tracing::info!(member = node_id(from.0), "has the keys of the next epoch");
        running.plan.received.push(from.0);
        set_plan(&self.store, Some(&running.plan))
    }

    fn handle_switched(&mut self, now: Instant, epoch: u8, channel_key: [u8; 32]) -> Result<()> {
        tracing::info!(epoch, "the keys of the next epoch are in force");
        let Some(old) = self.options.swarm.clone() else { return Ok(()) };
        let key = self.mode.agent().map(|agent| agent.epoch_keys().1.clone()).context("no agent")?;
        let new = EnrolmentRecord {
            epoch,
            swarm_key: key,
            channel_key: heapless::Vec::from_slice(&channel_key)
                .map_err(|_| anyhow!("the channel key is too long"))?,
            ..old.clone()
        };
        // In this order: whatever happens in between, the next start finds keys that fit each other or brings the radio after.
        self.store.set(KEY_OLD_CHANNEL, &old.channel_key.to_vec())?;
        swarm::set_joined(&self.store, &new)?;
        self.options.swarm = Some(new.clone());
        self.keep_pending(now)?;
        if let Some(running) = self.rotation.take_if(|running| running.plan.channel_key != channel_key) {
            // Keys of a rotation that was given up, or another operator's: those that are left out here have them, perhaps.
            let now_ms = (self.wall)();
            let hours = running.plan.deadline_ms.saturating_sub(now_ms).div_ceil(3_600_000).max(1) as u32;
            let plan = Plan::new(&new, running.plan.without, now_ms, hours)?;
            tracing::warn!(epoch = plan.epoch, "other new keys came into force: the rotation begins anew");
            set_plan(&self.store, Some(&plan))?;
            self.rotation = Some(Running { plan, started: now, asked: None, rollout: None });
        } else if let Some(running) = self.rotation.take() {
            let missing: Vec<String> =
                running.rollout.iter().flat_map(Rollout::missing).map(|num| node_id(num.0)).collect();
            if missing.is_empty() {
                tracing::info!("all members have changed with us");
            } else {
                tracing::warn!(
                    "without a receipt of {}: invite them anew if they stay silent",
                    missing.join(", ")
                );
            }
            set_plan(&self.store, None)?;
        }
        if let Mode::Native(station) = &mut self.mode {
            let mut channels = station.station_ref().router().config().channels.clone();
            let channel =
                Channel::new(&new.channel_name, &channel_key).context("the swarm's channel is none")?;
            if let Some(place) = channels.get_mut(usize::from(compotastic_node::station::SWARM_CHANNEL)) {
                *place = channel;
            }
            station.station().set_channels(channels);
        }
        if let Some(info) = self.radio.clone() {
            self.bring_radio_after(&info)?;
        }
        Ok(())
    }

    /// A radio whose channel has the key of the epoch before gets the new one. True if it did.
    pub(super) fn bring_radio_after(&mut self, info: &RadioInfo) -> Result<bool> {
        let Some(swarm) = &self.options.swarm else { return Ok(false) };
        let Some(old) = self.store.get::<Vec<u8>>(KEY_OLD_CHANNEL)? else { return Ok(false) };
        let name = swarm.channel_name.as_str();
        let held = info
            .channels
            .iter()
            .find(|channel| channel.index > 0 && channel.name == name && channel.psk == old);
        let Some(held) = held else { return Ok(false) };
        let slot = Slot { psk: swarm.channel_key.to_vec(), ..held.into() };
        let message = set_channel(&slot)?;
        // What the radio will tell at its next handshake.
        if let Some(channel) = self
            .radio
            .iter_mut()
            .flat_map(|radio| &mut radio.channels)
            .find(|channel| channel.index == slot.index)
        {
            channel.psk.clone_from(&slot.psk);
        }
        tracing::info!(slot = slot.index, "the radio's channel gets the new key");
        self.push(Output::Admin(message));
        Ok(true)
    }

    /// The operator's next step. Extra calls are harmless.
    pub(super) fn advance_rotation(&mut self, now: Instant) {
        if let Err(error) = self.try_advance(now) {
            tracing::error!("the rotation of the swarm's keys: {error:#}");
            self.rotation = None;
        }
    }

    fn try_advance(&mut self, now: Instant) -> Result<()> {
        if self.rotation.is_none() || !self.up {
            return Ok(());
        }
        let now_ms = (self.wall)();
        let members: Vec<u32> =
            self.book.views().into_iter().filter(|view| view.member).map(|view| view.num).collect();
        let own = self.own;
        let Some(running) = &mut self.rotation else { return Ok(()) };
        let Some(agent) = self.mode.agent() else { return Ok(()) };
        let deadline = instant(now, now_ms, running.plan.deadline_ms);
        if running.rollout.is_none() {
            let keys = pinned(&self.store)?;
            let wanted = |num: &u32| *num != own && !running.plan.without.contains(num);
            let unknown = members.iter().filter(|num| wanted(num) && !keys.contains_key(num)).count();
            let waited = now.saturating_duration_since(running.started);
            let asked_ago = running.asked.map(|at| now.saturating_duration_since(at));
            let nobody = !keys.keys().any(wanted);
            if (unknown > 0 || nobody) && waited < COLLECT {
                if asked_ago.is_none_or(|ago| ago >= ASK_EVERY) {
                    running.asked = Some(now);
                    agent.ask_node_keys();
                }
                return Ok(());
            }
            let swarm = self.options.swarm.as_ref().context("no swarm is joined")?;
            let operator = swarm::operator(&self.store)?;
            let mut rollout = Rollout::new(running.plan.number, now, deadline);
            for (num, public) in keys.iter().filter(|(num, _)| wanted(num)) {
                let record = record(
                    swarm,
                    &running.plan,
                    *num,
                    public,
                    deadline.saturating_duration_since(now),
                    &operator,
                )?;
                if !rollout.add(now, NodeNum(*num), &record) {
                    tracing::warn!(member = node_id(*num), "no room for so many members: invite it anew");
                }
            }
            for num in &running.plan.received {
                rollout.handle_receipt(NodeNum(*num), running.plan.number);
            }
            let keys = EpochKeys {
                epoch: running.plan.epoch,
                number: running.plan.number,
                keys: running.plan.keys(),
                switch_at: deadline,
            };
            agent.adopt_keys(keys);
            running.rollout = Some(rollout);
            return self.keep_pending(now);
        }
        let Some(rollout) = &mut running.rollout else { return Ok(()) };
        let (epoch, number) = (running.plan.epoch, running.plan.number);
        match rollout.poll(now) {
            Some(Say::Record(to, record)) => drop(agent.send_rotation(to, record)),
            Some(Say::Switch { in_s }) => {
                agent.send_switch(epoch, number, in_s);
                let switch_at = now + Duration::from_secs(in_s.into());
                agent.adopt_keys(EpochKeys { epoch, number, keys: running.plan.keys(), switch_at });
                return self.keep_pending(now);
            }
            None => {}
        }
        Ok(())
    }
}

fn record(
    swarm: &EnrolmentRecord,
    plan: &Plan,
    member: u32,
    public: &[u8; 32],
    left: Duration,
    operator: &SigningKey,
) -> Result<Vec<u8>> {
    let head = RotationHead {
        swarm_id: swarm.swarm_id,
        epoch: plan.epoch,
        number: plan.number,
        member,
        deadline_s: left.as_secs().min(u64::from(u32::MAX)) as u32,
    };
    let mut ephemeral = [0; 32];
    getrandom::fill(&mut ephemeral).context("the system gives no random numbers")?;
    let rotation = Rotation::seal(head, public, ephemeral, &plan.keys())
        .with_context(|| format!("the key of {} is none", node_id(member)))?;
    let mut bytes = [0; MAX_ROTATION];
    let length = rotation
        .encode(&mut bytes, |signed| operator.sign(signed).to_bytes())
        .map_err(|error| anyhow!("{error}"))?;
    Ok(bytes[..length].to_vec())
}
