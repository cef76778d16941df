//! Images made by code: Thumb firmware with calls, literal pools, tables of pointers and text, linked anew for each version.
#![allow(dead_code, reason = "each test file uses a part")]

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

#[derive(Clone)]
enum Op {
    Plain(u16),
    Call(usize),
    /// Loads the address of a function.
    Function(usize),
    /// Loads the address of a variable.
    Variable(u32),
}

#[derive(Clone)]
struct Function {
    id: usize,
    ops: Vec<Op>,
}

/// Where the image lies in the device's memory.
pub const BASE: u32 = 0x0800_8000;

/// The source of a firmware.
#[derive(Clone)]
pub struct Source {
    functions: Vec<Function>,
    names: Vec<String>,
    ram: u32,
    next_id: usize,
}

fn function(random: &mut Random, id: usize, known: usize) -> Function {
    let mut ops = vec![Op::Plain(0xb510)];
    for _ in 0..6 + random.below(24) {
        ops.push(match random.below(8) {
            0 | 1 => Op::Call(random.below(known)),
            2 => Op::Variable(4 * random.below(400) as u32),
            3 if random.below(3) == 0 => Op::Function(random.below(known)),
            4 => Op::Plain(0x2000 | (random.below(4) << 8 | random.below(16)) as u16),
            5 => Op::Plain(0x4600 | random.below(64) as u16),
            6 => Op::Plain(0x6800 | (random.below(16) << 6 | random.below(64)) as u16),
            _ => Op::Plain(0x1c00 | random.below(64) as u16),
        });
    }
    ops.push(Op::Plain(0xbd10));
    Function { id, ops }
}

impl Source {
    pub fn new(seed: u64, functions: usize) -> Self {
        let mut random = Random(seed);
        let functions: Vec<Function> =
            (0..functions).map(|id| function(&mut random, id, functions)).collect();
        let names = (0..60).map(|_| name(&mut random)).collect();
        Self { next_id: functions.len(), functions, names, ram: 0x2000_0100 }
    }

    /// A later version: functions changed, added and gone (from the order), variables and names moved.
    pub fn change(&mut self, seed: u64, changes: usize) {
        let mut random = Random(seed);
        for _ in 0..changes {
            let at = random.below(self.functions.len());
            match random.below(4) {
                0 => {
                    let id = self.next_id;
                    self.next_id += 1;
                    self.functions.insert(at, function(&mut random, id, id));
                }
                1 => {
                    let op = random.below(self.functions[at].ops.len());
                    self.functions[at].ops[op] = Op::Plain(0x3000 | random.below(256) as u16);
                }
                2 => {
                    let op = 1 + random.below(self.functions[at].ops.len() - 1);
                    let called = random.below(self.next_id);
                    self.functions[at].ops.insert(op, Op::Call(called));
                }
                _ => {
                    self.ram += 8;
                    let at = random.below(self.names.len());
                    self.names.insert(at, name(&mut random));
                }
            }
        }
    }

    /// The image.
    pub fn link(&self) -> Vec<u8> {
        let mut places = vec![0_u32; self.next_id];
        let mut at = 8 + 4 * self.functions.len() as u32;
        for function in &self.functions {
            places[function.id] = at;
            at += size(function);
        }
        let mut image: Vec<u8> = Vec::new();
        image.extend((self.ram + 0x8000).to_le_bytes());
        image.extend((BASE + places[0] + 1).to_le_bytes());
        for function in &self.functions {
            image.extend((BASE + places[function.id] + 1).to_le_bytes());
        }
        for function in &self.functions {
            self.emit(function, &places, &mut image);
        }
        let mut addresses = Vec::new();
        for name in &self.names {
            addresses.push(BASE + image.len() as u32);
            image.extend(name.as_bytes());
            image.push(0);
        }
        while !image.len().is_multiple_of(4) {
            image.push(0);
        }
        for address in addresses {
            image.extend(address.to_le_bytes());
        }
        image
    }

    fn emit(&self, function: &Function, places: &[u32], image: &mut Vec<u8>) {
        let start = image.len() as u32;
        assert_eq!(start, places[function.id]);
        let code = code_size(function);
        let mut pool: Vec<u32> = Vec::new();
        for op in &function.ops {
            let at = image.len() as u32;
            match op {
                Op::Plain(half) => image.extend(half.to_le_bytes()),
                Op::Call(id) => {
                    let by = (places[*id] as i32 - at as i32 - 4) / 2;
                    let value = by as u32;
                    let sign = value >> 23 & 1;
                    let j = |bit: u32| !(value >> bit) & 1 ^ sign;
                    let first = 0xf000 | sign << 10 | value >> 11 & 0x3ff;
                    let second = 0xd000 | j(22) << 13 | j(21) << 11 | value & 0x7ff;
                    image.extend((first as u16).to_le_bytes());
                    image.extend((second as u16).to_le_bytes());
                }
                Op::Function(_) | Op::Variable(_) => {
                    let word = match op {
                        Op::Function(id) => BASE + places[*id] + 1,
                        Op::Variable(offset) => self.ram + offset,
                        _ => 0,
                    };
                    let target = start + code + 4 * pool.len() as u32;
                    pool.push(word);
                    let by = (target - ((at + 4) & !3)) / 4;
                    image.extend((0x4800 | by as u16).to_le_bytes());
                }
            }
        }
        while image.len() as u32 != start + code {
            image.push(0);
        }
        for word in pool {
            image.extend(word.to_le_bytes());
        }
    }
}

fn name(random: &mut Random) -> String {
    const PARTS: [&str; 8] = ["node", "mesh", "radio", "send", "port", "timer", "read", "_"];
    (0..1 + random.below(3)).map(|_| PARTS[random.below(PARTS.len())]).collect()
}

fn code_size(function: &Function) -> u32 {
    let size: u32 = function.ops.iter().map(|op| if matches!(op, Op::Call(_)) { 4 } else { 2 }).sum();
    (size + 3) & !3
}

fn size(function: &Function) -> u32 {
    let loads = function.ops.iter().filter(|op| matches!(op, Op::Function(_) | Op::Variable(_))).count();
    code_size(function) + 4 * loads as u32
}

/// Two versions of a firmware.
pub fn firmware(seed: u64, functions: usize, changes: usize) -> (Vec<u8>, Vec<u8>) {
    let mut source = Source::new(seed, functions);
    let old = source.link();
    source.change(seed ^ 0x5555, changes);
    (old, source.link())
}

/// Two versions of a grid of weights: every `each`-th value moved by one.
pub fn weights(seed: u64, len: usize, each: usize) -> (Vec<u8>, Vec<u8>) {
    let mut random = Random(seed);
    let old: Vec<u8> =
        (0..len).map(|_| (0..4).map(|_| random.below(40) as u8).sum::<u8>().wrapping_sub(78)).collect();
    let new = old
        .iter()
        .map(|value| match random.below(each) {
            0 => value.wrapping_add(1),
            1 => value.wrapping_sub(1),
            _ => *value,
        })
        .collect();
    (old, new)
}
