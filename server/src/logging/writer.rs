//! Standard error as something that can fail: what could not be written is counted and given up, and nothing waits for
//! it but the thread that writes. Which lines are written is decided elsewhere.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing_appender::non_blocking::ErrorCounter;

/// Writes whole lines, counts those that failed, and never fails itself.
pub(super) struct CountingWriter<W> {
    inner: W,
    unwritten: Arc<AtomicU64>,
    /// The last line broke off in its middle.
    broken_off: bool,
}

impl<W: Write> CountingWriter<W> {
    /// With the count of lines that could not be written.
    pub(super) fn new(inner: W) -> (Self, Arc<AtomicU64>) {
        let unwritten = Arc::new(AtomicU64::new(0));
        (Self { inner, unwritten: Arc::clone(&unwritten), broken_off: false }, unwritten)
    }

    fn try_write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.broken_off {
            self.inner.write_all(b"\n")?;
            self.broken_off = false;
        }
        let mut rest = line;
        while !rest.is_empty() {
            let failed = match self.inner.write(rest) {
                Ok(0) => io::ErrorKind::WriteZero.into(),
                Ok(written) => {
                    rest = &rest[written..];
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            self.broken_off = rest.len() < line.len();
            return Err(failed);
        }
        Ok(())
    }
}

impl<W: Write> Write for CountingWriter<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.try_write(line).is_err() {
            self.unwritten.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // Nothing is kept here, and what standard error keeps it writes itself.
        Ok(())
    }
}

/// How many lines were lost, and why.
#[derive(Clone)]
pub(crate) struct LostLines {
    not_taken: ErrorCounter,
    unwritten: Arc<AtomicU64>,
}

impl LostLines {
    pub(super) fn new(not_taken: ErrorCounter, unwritten: Arc<AtomicU64>) -> Self {
        Self { not_taken, unwritten }
    }

    /// Brings the metric up to date.
    pub(crate) fn publish(&self) {
        let not_taken = u64::try_from(self.not_taken.dropped_lines()).unwrap_or(u64::MAX);
        metrics::counter!("tronch_log_lines_dropped_total", "why" => "buffer_full").absolute(not_taken);
        let unwritten = self.unwritten.load(Ordering::Relaxed);
        metrics::counter!("tronch_log_lines_dropped_total", "why" => "write_failed").absolute(unwritten);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with so much room.
    struct Disk {
        room: usize,
        written: Vec<u8>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let fitting = bytes.len().min(self.room);
            if fitting == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room -= fitting;
            self.written.extend(&bytes[..fitting]);
            Ok(fitting)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_without_room_are_counted_and_the_next_one_begins_anew() {
        let (mut writer, unwritten) = CountingWriter::new(Disk { room: 6, written: Vec::new() });
        for line in ["one\n", "two\n", "three\n"] {
            writer.write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(unwritten.load(Ordering::Relaxed), 2);
        writer.inner.room = 100;
        writer.write_all(b"four\n").unwrap();
        writer.write_all(b"five\n").unwrap();
        assert_eq!(String::from_utf8_lossy(&writer.inner.written), "one\ntw\nfour\nfive\n");
        assert_eq!(unwritten.load(Ordering::Relaxed), 2);
    }
}
