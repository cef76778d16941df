//! Wrong behaviour made on purpose: a checker that does not notice its mutants is worth nothing.

/// What a node of ours does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Promise 1: panics.
    PanicsOnLongFrames,
    /// Promise 1: asks to be called again at once, for ever.
    AsksWithoutEnd,
    /// Promise 2: takes bundles of a root that is not its operator's.
    TrustsAnybody,
    /// Promise 2: after a restart, the first content of its flash is there again.
    RollsBack,
    /// Promise 2: its boot loader starts whatever is there.
    StartsAnything,
    /// Promise 2: at each start it has the firmware of the factory again.
    ForgetsFirmware,
    /// Promise 3: power loss leaves nothing in the slots.
    ForgetsImage,
    /// Promise 3: power loss leaves a device that does not boot.
    DoesNotBoot,
    /// Promise 4: an answer is lost on its way to the user.
    SwallowsAnswers,
    /// Promise 4: an answer comes twice.
    AnswersTwice,
    /// Promise 4: an answer bears the name of somebody who was not asked.
    MisattributesAnswers,
    /// Promise 4: nothing is said of reports.
    DropsReports,
    /// Promise 5: something is different in each run.
    DrawsFromOutside,
    /// Promise 6: sends past the gates.
    Chatters,
    /// Liveness: objects never arrive.
    DropsSymbols,
    /// Liveness: it never learns who is there.
    HearsNoBeacons,
    /// Liveness: new firmware is never tried.
    NeverRestarts,
}

impl Mutant {
    /// All of them, each with the checker that must notice.
    pub const ALL: [(Self, &'static str); 17] = [
        (Self::PanicsOnLongFrames, "panic"),
        (Self::AsksWithoutEnd, "hang"),
        (Self::TrustsAnybody, "install"),
        (Self::RollsBack, "install"),
        (Self::StartsAnything, "firmware"),
        (Self::ForgetsFirmware, "firmware"),
        (Self::ForgetsImage, "boot"),
        (Self::DoesNotBoot, "boot"),
        (Self::SwallowsAnswers, "job"),
        (Self::AnswersTwice, "job"),
        (Self::MisattributesAnswers, "job"),
        (Self::DropsReports, "report"),
        (Self::DrawsFromOutside, "repeatability"),
        (Self::Chatters, "air"),
        (Self::DropsSymbols, "object"),
        (Self::HearsNoBeacons, "registry"),
        (Self::NeverRestarts, "firmware"),
    ];
}
