//! Quiet hours: from when to when, by this machine's local time.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Minutes of a day.
const DAY: u32 = 24 * 60;

/// From one time of the day to another, maybe over midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuietHours {
    /// First quiet minute of the day.
    from_min: u32,
    /// First minute that is not quiet any more.
    to_min: u32,
}

/// Why words are no quiet hours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` are no quiet hours: write them as 22:00-06:00")]
pub struct BadHours(String);

impl QuietHours {
    /// Whether a minute of the day (0..1440) is quiet.
    pub fn holds(self, minute: u32) -> bool {
        let minute = minute % DAY;
        if self.from_min <= self.to_min {
            (self.from_min..self.to_min).contains(&minute)
        } else {
            minute >= self.from_min || minute < self.to_min
        }
    }
}

impl FromStr for QuietHours {
    type Err = BadHours;

    fn from_str(text: &str) -> Result<Self, BadHours> {
        let bad = || BadHours(text.to_owned());
        let minutes = |time: &str| {
            let (hours, minutes) = time.trim().split_once(':')?;
            let number = |digits: &str, below| {
                let value = digits.parse::<u32>().ok().filter(|_| digits.len() <= 2)?;
                (value < below).then_some(value)
            };
            Some(number(hours, 24)? * 60 + number(minutes, 60)?)
        };
        let (from, to) = text.split_once('-').ok_or_else(bad)?;
        let (from_min, to_min) = (minutes(from).ok_or_else(bad)?, minutes(to).ok_or_else(bad)?);
        if from_min == to_min {
            return Err(bad());
        }
        Ok(Self { from_min, to_min })
    }
}

impl fmt::Display for QuietHours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (self.from_min, self.to_min);
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nights_go_over_midnight() {
        let night: QuietHours = "22:00-06:30".parse().unwrap();
        for (minute, quiet) in [(21 * 60 + 59, false), (22 * 60, true), (0, true), (389, true), (390, false)]
        {
            assert_eq!(night.holds(minute), quiet, "{minute}");
        }
        let noon: QuietHours = "12:00-13:00".parse().unwrap();
        assert!(noon.holds(12 * 60 + 30) && !noon.holds(0) && !noon.holds(13 * 60));
        assert_eq!(night.to_string(), "22:00-06:30");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for bad in [
            "",
            "22",
            "22:00",
            "22:00-",
            "24:00-06:00",
            "22:60-06:00",
            "22:00-22:00",
            "a:b-c:d",
            "022:00-06:00",
        ] {
            assert!(bad.parse::<QuietHours>().is_err(), "{bad}");
        }
    }
}
