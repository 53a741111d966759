//! Where lines wait for standard error, and the one thread that writes them. Whoever logs appends to a buffer and goes on:
//! a full disk or a reader that stopped reading holds up nobody. What had no room or could not be written is counted.
//! Which lines are written is decided elsewhere.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Bytes that may wait; a line more is lost and counted.
const WAITING_BYTES_MAX: usize = 2 * 1024 * 1024;

/// How long lines are gathered: what a killed process loses at most, and why a thousand lines cost a few writes.
const GATHERED_FOR: Duration = Duration::from_millis(5);

/// How long the end waits for what still waits.
const FAREWELL: Duration = Duration::from_secs(1);

/// Writes whole lines, counts those that failed, and never fails itself.
struct CountingWriter<W> {
    inner: W,
    /// The last line broke off in its middle.
    broken_off: bool,
}

impl<W: Write> CountingWriter<W> {
    fn new(inner: W) -> Self {
        Self { inner, broken_off: false }
    }

    /// Gives the lines that could not be written: all from the first that failed on.
    fn write(&mut self, lines: &[u8]) -> u64 {
        let written = self.try_write(lines);
        count_lines(&lines[written..])
    }

    /// Gives the bytes of the lines that were written whole.
    fn try_write(&mut self, lines: &[u8]) -> usize {
        if self.broken_off {
            if self.inner.write_all(b"\n").is_err() {
                return 0;
            }
            self.broken_off = false;
        }
        let mut written = 0;
        while written < lines.len() {
            match self.inner.write(&lines[written..]) {
                Ok(0) => break,
                Ok(bytes) => written += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        let whole = lines[..written].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.broken_off = whole < written;
        whole
    }
}

fn count_lines(lines: &[u8]) -> u64 {
    u64::try_from(lines.iter().filter(|byte| **byte == b'\n').count()).unwrap_or(u64::MAX)
}

/// The lines that wait. Clones are one and the same.
#[derive(Clone)]
pub(crate) struct Lines(Arc<Shared>);

struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    not_taken: AtomicU64,
    unwritten: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    is_over: bool,
    is_written: bool,
}

/// The thread that writes. Dropped, it writes what still waits, for at most about a second.
pub(super) struct Writing(Lines);

impl Lines {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(super) fn start(to: impl Write + Send + 'static) -> io::Result<(Self, Writing)> {
        let lines = Self(Arc::new(Shared {
            waiting: Mutex::default(),
            changed: Condvar::new(),
            not_taken: AtomicU64::new(0),
            unwritten: AtomicU64::new(0),
        }));
        let written = lines.clone();
        std::thread::Builder::new().name("log".to_owned()).spawn(move || written.write_until_over(to))?;
        Ok((lines.clone(), Writing(lines)))
    }

    /// Takes a line, or counts it as lost.
    pub(crate) fn push(&self, line: &[u8]) {
        let mut waiting = self.waiting();
        if waiting.bytes.len() + line.len() > WAITING_BYTES_MAX {
            self.0.not_taken.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let is_first = waiting.bytes.is_empty();
        waiting.bytes.extend_from_slice(line);
        drop(waiting);
        if is_first {
            self.0.changed.notify_all();
        }
    }

    pub(super) fn lost(&self) -> LostLines {
        LostLines(self.clone())
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_until_over(&self, to: impl Write) {
        let mut writer = CountingWriter::new(to);
        let mut taken = Vec::new();
        loop {
            let mut waiting = self.waiting();
            while waiting.bytes.is_empty() && !waiting.is_over {
                waiting = self.0.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            if waiting.bytes.is_empty() {
                waiting.is_written = true;
                drop(waiting);
                self.0.changed.notify_all();
                return;
            }
            if !waiting.is_over {
                drop(waiting);
                std::thread::park_timeout(GATHERED_FOR);
                waiting = self.waiting();
            }
            std::mem::swap(&mut waiting.bytes, &mut taken);
            drop(waiting);
            self.0.unwritten.fetch_add(writer.write(&taken), Ordering::Relaxed);
            taken.clear();
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting();
        waiting.is_over = true;
        self.0.0.changed.notify_all();
        let written = self.0.0.changed.wait_timeout_while(waiting, FAREWELL, |waiting| !waiting.is_written);
        // Whoever is over anyway has nobody to tell.
        drop(written);
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'writer> MakeWriter<'writer> for Lines {
    type Writer = Self;

    fn make_writer(&'writer self) -> Self {
        self.clone()
    }
}

/// How many lines were lost, and why.
#[derive(Clone)]
pub(crate) struct LostLines(Lines);

impl LostLines {
    /// Brings the metric up to date.
    pub(crate) fn publish(&self) {
        let Shared { not_taken, unwritten, .. } = &*self.0.0;
        for (why, count) in [("buffer_full", not_taken), ("write_failed", unwritten)] {
            let count = count.load(Ordering::Relaxed);
            metrics::counter!("tronch_log_lines_dropped_total", "why" => why).absolute(count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with so much room.
    #[derive(Clone)]
    struct Disk(Arc<Mutex<(usize, Vec<u8>)>>);

    impl Disk {
        fn with_room(room: usize) -> Self {
            Self(Arc::new(Mutex::new((room, Vec::new()))))
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().1.clone()).unwrap()
        }
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut disk = self.0.lock().unwrap();
            let fitting = bytes.len().min(disk.0);
            if fitting == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            disk.0 -= fitting;
            disk.1.extend(&bytes[..fitting]);
            Ok(fitting)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_without_room_are_counted_and_the_next_one_begins_anew() {
        let disk = Disk::with_room(6);
        let mut writer = CountingWriter::new(disk.clone());
        assert_eq!(writer.write(b"one\ntwo\nthree\n"), 2);
        assert_eq!(writer.write(b"lost\n"), 1);
        disk.0.lock().unwrap().0 = 100;
        assert_eq!(writer.write(b"four\nfive\n"), 0);
        assert_eq!(disk.text(), "one\ntw\nfour\nfive\n");
    }

    #[test]
    fn what_waits_at_the_end_is_written() {
        let disk = Disk::with_room(1_000_000);
        let (lines, writing) = Lines::start(disk.clone()).unwrap();
        (0..1_000).for_each(|number| lines.push(format!("line {number}\n").as_bytes()));
        drop(writing);
        let text = disk.text();
        assert_eq!((text.lines().count(), text.lines().last()), (1_000, Some("line 999")));
    }

    #[test]
    fn beyond_its_bound_lines_are_not_taken_and_counted() {
        let (deaf, listener) = io::pipe().unwrap();
        let (lines, writing) = Lines::start(listener).unwrap();
        let line = [b"x".repeat(1_023).as_slice(), b"\n"].concat();
        (0..6_000).for_each(|_| lines.push(&line));
        let lost = lines.0.not_taken.load(Ordering::Relaxed);
        assert!((1_500..4_200).contains(&lost), "{lost}");
        drop(deaf);
        drop(writing);
    }
}
