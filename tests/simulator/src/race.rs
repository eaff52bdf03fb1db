//! Who touched a byte last, and whether that is ordered before who touches it now.

use crate::clocks::{Clocks, known};

/// Added to the clock of a write: the access was atomic, or strong.
const STRONG: u32 = 1 << 31;

/// In place of a reader: the number of a set of readers.
const SET: u32 = 1 << 31;

/// The last writer of a byte and those who read it since. Threads are counted over all clusters of
/// the launch, from 1; 0 is nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    writer: u32,
    write_clock: u32,
    reader: u32,
    read_clock: u32,
}

/// Who makes an access, and what it knows.
#[derive(Clone, Copy)]
pub(crate) enum View<'a> {
    /// A thread of the cluster.
    Thread(&'a Clocks, usize),
    /// An agent that works for a thread, with what that knew when it asked for it.
    Agent(&'a [u32], usize, u32),
}

impl View<'_> {
    fn index(self) -> usize {
        match self {
            View::Thread(_, thread) => thread,
            View::Agent(_, agent, _) => agent,
        }
    }

    fn clock(self) -> u32 {
        match self {
            View::Thread(clocks, thread) => clocks.now(thread),
            View::Agent(_, _, clock) => clock,
        }
    }

    fn knows(self, other: usize, clock: u32) -> bool {
        match self {
            View::Thread(clocks, me) => clocks.knows(me, other, clock),
            View::Agent(snapshot, ..) => known(snapshot, other) >= clock,
        }
    }
}

/// The other side of a race.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conflict {
    /// Thread or agent, counted over all clusters from 0.
    pub other: u32,
    pub wrote: bool,
}

/// Sets of readers of which none is ordered before another, and the place of the cluster.
pub(crate) struct Readers {
    sets: Vec<Vec<(u32, u32)>>,
    /// The number of the first thread of the cluster that runs.
    base: u32,
}

impl Readers {
    pub fn new() -> Self {
        Readers { sets: Vec::new(), base: 0 }
    }

    pub fn begin_cluster(&mut self, base: u32) {
        self.base = base;
    }

    /// Whether an access of `who`, counted from 1, is ordered before the view's.
    fn ordered(&self, view: View<'_>, who: u32, clock: u32) -> bool {
        let number = who - 1;
        if number == self.base + view.index() as u32 {
            // A thread is ordered with itself; an agent does not wait for its earlier work.
            let same = matches!(view, View::Thread(..)) || view.clock() == clock;
            return same || view.knows(view.index(), clock);
        }
        number >= self.base && view.knows((number - self.base) as usize, clock)
    }

    /// A read of consecutive bytes.
    pub fn read(
        &mut self,
        records: &mut [Record],
        view: View<'_>,
        strong: bool,
    ) -> Result<(), Conflict> {
        let (me, clock) = (self.base + view.index() as u32 + 1, view.clock());
        let mut last: Option<(Record, Record)> = None;
        for record in records {
            if record.reader == me && record.read_clock == clock {
                continue;
            }
            if let Some((before, after)) = last
                && before == *record
            {
                *record = after;
                continue;
            }
            let before = *record;
            if record.writer != 0 && !(strong && record.write_clock & STRONG != 0) {
                let written = record.write_clock & !STRONG;
                if !self.ordered(view, record.writer, written) {
                    return Err(Conflict { other: record.writer - 1, wrote: true });
                }
            }
            if !strong {
                self.add_reader(record, view, me, clock);
            }
            last = (record.reader & SET == 0).then_some((before, *record));
        }
        Ok(())
    }

    fn add_reader(&mut self, record: &mut Record, view: View<'_>, me: u32, clock: u32) {
        if record.reader & SET != 0 {
            let mut set = std::mem::take(&mut self.sets[(record.reader & !SET) as usize]);
            // One reader of an earlier cluster stands for all of them.
            let base = self.base;
            let mut foreign = false;
            set.retain(|&(who, then)| {
                if who <= base {
                    return !std::mem::replace(&mut foreign, true);
                }
                who != me && !self.ordered(view, who, then)
            });
            set.push((me, clock));
            self.sets[(record.reader & !SET) as usize] = set;
        } else if record.reader == 0
            || record.reader == me
            || self.ordered(view, record.reader, record.read_clock)
        {
            (record.reader, record.read_clock) = (me, clock);
        } else {
            self.sets.push(vec![(record.reader, record.read_clock), (me, clock)]);
            record.reader = SET | (self.sets.len() as u32 - 1);
        }
    }

    /// A write of consecutive bytes; `strong`: atomic, so that others of that kind may meet it.
    pub fn write(
        &mut self,
        records: &mut [Record],
        view: View<'_>,
        strong: bool,
    ) -> Result<(), Conflict> {
        let (me, clock) = (self.base + view.index() as u32 + 1, view.clock());
        let after = Record {
            writer: me,
            write_clock: clock | if strong { STRONG } else { 0 },
            reader: 0,
            read_clock: 0,
        };
        let mut last: Option<Record> = None;
        for record in records {
            if last != Some(*record) {
                let written = record.write_clock & !STRONG;
                let both_strong = strong && record.write_clock & STRONG != 0;
                if record.writer != 0 && !both_strong && !self.ordered(view, record.writer, written)
                {
                    return Err(Conflict { other: record.writer - 1, wrote: true });
                }
                self.check_readers(record, view)?;
                last = Some(*record);
            }
            *record = after;
        }
        Ok(())
    }

    fn check_readers(&self, record: &Record, view: View<'_>) -> Result<(), Conflict> {
        let single = [(record.reader, record.read_clock)];
        let readers = match record.reader {
            0 => &[],
            set if set & SET != 0 => self.sets[(set & !SET) as usize].as_slice(),
            _ => &single,
        };
        match readers.iter().find(|&&(who, then)| !self.ordered(view, who, then)) {
            Some(&(who, _)) => Err(Conflict { other: who - 1, wrote: false }),
            None => Ok(()),
        }
    }
}
