//! Frames on a stream (serial, TCP): 0x94 0xC3, the length in two bytes (big-endian), one message of at most 512 bytes.
//!
//! Both directions have the same form: to the radio goes `ToRadio`, from it comes `FromRadio`. What is between frames is debug
//! text. Bluetooth and HTTP have no frames: one message is one write or read.

use compotastic_messages::Full;
use heapless::Vec;

/// First byte of a frame.
pub const START_1: u8 = 0x94;
/// Second byte of a frame.
pub const START_2: u8 = 0xC3;
/// Bytes before the message.
pub const HEADER: usize = 4;
/// Longest message; a frame that claims more is none.
pub const MAX_MESSAGE: usize = 512;
/// Longest frame.
pub const MAX_FRAME: usize = HEADER + MAX_MESSAGE;
/// Sent first on a serial line, these wake a sleeping radio.
pub const WAKE: [u8; 32] = [START_2; 32];

/// The header of a message of this length.
///
/// # Errors
/// [`Full`] for more than [`MAX_MESSAGE`] bytes: the other side would drop it.
pub fn header(length: usize) -> Result<[u8; HEADER], Full> {
    if length > MAX_MESSAGE {
        return Err(Full);
    }
    let [high, low] = (length as u16).to_be_bytes();
    Ok([START_1, START_2, high, low])
}

/// A message with its header.
///
/// # Errors
/// [`Full`] for more than [`MAX_MESSAGE`] bytes.
pub fn frame(message: &[u8]) -> Result<Vec<u8, MAX_FRAME>, Full> {
    let mut frame = Vec::new();
    frame.extend_from_slice(&header(message.len())?).map_err(|_| Full)?;
    frame.extend_from_slice(message).map_err(|_| Full)?;
    Ok(frame)
}

/// What is found on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A message. Where it turns out to be none, say so by [`Deframer::reject`].
    Message(&'a [u8]),
    /// Bytes outside of frames: debug text, or noise. Some of what follows a false header is not told.
    Text(&'a [u8]),
}

/// Takes a stream apart, whatever the pieces that it comes in. Holds at most one frame.
///
/// ```
/// use compotastic_client::framing::{Deframer, Item};
/// let mut deframer = Deframer::default();
/// let mut input: &[u8] = b"boot\n\x94\xC3\x00\x02\x18\x2A\x94";
/// assert_eq!(deframer.next(&mut input), Some(Item::Text(b"boot\n")));
/// assert_eq!(deframer.next(&mut input), Some(Item::Message(&[0x18, 0x2A])));
/// assert_eq!(deframer.next(&mut input), None);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Deframer {
    /// From the first byte of what may be a header on.
    held: Vec<u8, MAX_FRAME>,
    /// Bytes of it that are done with.
    done: usize,
}

impl Deframer {
    /// Takes bytes off the front of `input` until something is found; nothing, where all of it is taken and nothing is complete.
    pub fn next<'s, 'i: 's>(&'s mut self, input: &mut &'i [u8]) -> Option<Item<'s>> {
        self.drop_front(self.done);
        loop {
            if self.held.is_empty() {
                let text = input.iter().position(|byte| *byte == START_1).unwrap_or(input.len());
                if text > 0 {
                    let (text, rest) = input.split_at(text);
                    *input = rest;
                    return Some(Item::Text(text));
                }
            }
            let wanted = match self.wanted() {
                Some(wanted) => wanted,
                None => {
                    self.drop_front(1);
                    continue;
                }
            };
            if self.held.len() >= wanted && wanted >= HEADER && self.length() == Some(wanted - HEADER) {
                self.done = wanted;
                return self.held.get(HEADER..wanted).map(Item::Message);
            }
            if input.is_empty() {
                return None;
            }
            let taken = input.len().min(wanted.saturating_sub(self.held.len()));
            let (head, rest) = input.split_at(taken);
            *input = rest;
            // There is always room: `wanted` is at most the length of the longest frame.
            let _ = self.held.extend_from_slice(head);
        }
    }

    /// The message that was found last does not parse, so bytes of it were lost and others of the next frame swallowed: the next
    /// frame is looked for inside of it.
    pub fn reject(&mut self) {
        self.done = self.done.min(1);
    }

    /// Forgets what is held, as after the link was opened anew.
    pub fn reset(&mut self) {
        self.held.clear();
        self.done = 0;
    }

    /// The length that the header tells.
    fn length(&self) -> Option<usize> {
        match *self.held.as_slice() {
            [_, _, high, low, ..] => Some(usize::from(u16::from_be_bytes([high, low]))),
            _ => None,
        }
    }

    /// How many bytes must be held to go on; nothing where what is held does not begin a frame.
    fn wanted(&self) -> Option<usize> {
        match *self.held.as_slice() {
            [] => Some(1),
            [START_1] => Some(2),
            [START_1, START_2] | [START_1, START_2, _] => Some(HEADER),
            [START_1, START_2, ..] => {
                self.length().filter(|length| *length <= MAX_MESSAGE).map(|length| HEADER + length)
            }
            _ => None,
        }
    }

    /// Drops so many bytes and those behind them up to the next possible first byte.
    fn drop_front(&mut self, count: usize) {
        self.done = 0;
        if count == 0 {
            return;
        }
        let rest = self.held.get(count..).unwrap_or_default();
        let start = rest.iter().position(|byte| *byte == START_1).map_or(self.held.len(), |at| at + count);
        let left = self.held.len() - start;
        self.held.copy_within(start.., 0);
        self.held.truncate(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_message_fits_and_one_more_does_not() {
        assert_eq!(frame(&[7; MAX_MESSAGE]).map(|frame| frame.len()), Ok(MAX_FRAME));
        assert_eq!(frame(&[7; MAX_MESSAGE + 1]), Err(Full));
    }

    #[test]
    fn known_frames() {
        assert_eq!(frame(&[0x18, 42]).unwrap(), [0x94, 0xC3, 0, 2, 0x18, 42], "want_config_id 42");
        assert_eq!(frame(&[0x3A, 0]).unwrap(), [0x94, 0xC3, 0, 2, 0x3A, 0], "heartbeat");
    }
}
