//! The queue between the program and its standard error.
//!
//! A write to standard error may block for ever: it may be a pipe that is not read, or a terminal that is
//! stopped. So lines are only queued, in bounded memory, and one thread writes them. A line that does not fit
//! is dropped, and the number of dropped lines is logged when there is room again.

use std::io::{self, ErrorKind, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Maximum bytes that wait to be written. The writing thread has at most as many in addition.
const MAX_QUEUED: usize = 256 * 1024;

/// Maximum length of a line. A longer line is cut.
const MAX_LINE: usize = 4096;

/// Time until the next write to a standard error that is non-blocking and full.
const RETRY: Duration = Duration::from_millis(10);

/// A queue of lines.
pub struct LogQueue {
    state: Mutex<State>,
    /// Notified when lines were queued for an idle writer, and when everything was written.
    changed: Condvar,
}

struct State {
    bytes: Vec<u8>,
    /// Lines that did not fit since the last report of that number.
    dropped: u64,
    /// The writer waits for lines.
    idle: bool,
}

impl LogQueue {
    pub const fn new() -> LogQueue {
        let state = State { bytes: Vec::new(), dropped: 0, idle: false };
        LogQueue { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a line, or drops it if the queue is full. Never blocks.
    pub fn push(&self, line: &[u8]) {
        self.push_within(line, MAX_QUEUED);
    }

    /// Queues the last line of the program, even if the queue is full.
    pub fn push_last(&self, line: &[u8]) {
        self.push_within(line, usize::MAX);
    }

    fn push_within(&self, line: &[u8], max: usize) {
        let mut state = self.lock();
        if state.bytes.len() + line.len().min(MAX_LINE) > max {
            state.dropped += 1;
            return;
        }
        state.report_dropped();
        append_line(&mut state.bytes, line);
        if state.idle {
            self.changed.notify_all();
        }
    }

    /// Writes the lines to `output`, for ever. Errors are ignored: there is no other place to report them.
    pub fn write_to(&self, mut output: impl Write) {
        let mut batch = Vec::new();
        loop {
            {
                let mut state = self.lock();
                while state.bytes.is_empty() {
                    state.idle = true;
                    self.changed.notify_all();
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                state.idle = false;
                std::mem::swap(&mut state.bytes, &mut batch);
            }
            write_batch(&mut output, &batch);
            batch.clear();
            self.lock().report_dropped();
        }
    }

    /// Waits until all lines have been written, at most for `timeout`.
    pub fn flush(&self, timeout: Duration) {
        let until = Instant::now() + timeout;
        let mut state = self.lock();
        while !(state.idle && state.bytes.is_empty()) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl State {
    /// Queues a line with the number of dropped lines, if there are any.
    fn report_dropped(&mut self) {
        if self.dropped > 0 {
            let dropped = std::mem::take(&mut self.dropped);
            let line = format!(
                "9pmux: {dropped} lines of the log dropped: standard error is not read fast enough\n"
            );
            append_line(&mut self.bytes, line.as_bytes());
        }
    }
}

/// Appends a line. A line that is too long is cut at a character's boundary.
fn append_line(bytes: &mut Vec<u8>, line: &[u8]) {
    if line.len() <= MAX_LINE {
        bytes.extend_from_slice(line);
        return;
    }
    let mark = b"...\n";
    let mut end = MAX_LINE - mark.len();
    // A byte of the form 10xxxxxx continues a character.
    while end > 0 && line[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    bytes.extend_from_slice(&line[..end]);
    bytes.extend_from_slice(mark);
}

fn write_batch(output: &mut impl Write, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match output.write(bytes) {
            Ok(0) => return,
            Ok(n) => bytes = &bytes[n..],
            Err(error) => match error.kind() {
                ErrorKind::Interrupted => {}
                // Another process that shares it may have made it non-blocking.
                ErrorKind::WouldBlock => thread::sleep(RETRY),
                _ => return,
            },
        }
    }
}

/// Starts the thread that writes the lines of `queue` to standard error.
pub fn start_writer(queue: &'static LogQueue) -> io::Result<()> {
    thread::Builder::new()
        .name("log".to_owned())
        .stack_size(128 * 1024)
        .spawn(|| queue.write_to(io::stderr()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// An output that writes nothing until it is permitted to, once for each write.
    struct Gate {
        entered: Sender<()>,
        permitted: Receiver<()>,
        written: Sender<Vec<u8>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.entered.send(());
            // The test has ended if there is no permission any more.
            self.permitted.recv().map_err(io::Error::other)?;
            let _ = self.written.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gated() -> (&'static LogQueue, Receiver<()>, Sender<()>, Receiver<Vec<u8>>) {
        let queue: &LogQueue = Box::leak(Box::new(LogQueue::new()));
        let ((entered, is_writing), (permit, permitted), (written, output)) =
            (channel(), channel(), channel());
        thread::spawn(|| queue.write_to(Gate { entered, permitted, written }));
        (queue, is_writing, permit, output)
    }

    #[test]
    fn blocked_output_drops_and_counts_lines_in_bounded_memory() {
        let (queue, is_writing, permit, output) = gated();
        queue.push(b"first\n");
        is_writing.recv().unwrap();
        let line = [b"x".repeat(99), b"\n".to_vec()].concat();
        for _ in 0..1_000_000 {
            queue.push(&line);
        }
        let queued = queue.lock().bytes.len();
        assert!(queued <= MAX_QUEUED && queued + line.len() > MAX_QUEUED, "{queued}");
        queue.push_last(b"the last\n");
        let _ = (permit.send(()), permit.send(()));
        assert_eq!(output.recv().unwrap(), b"first\n");
        let text = String::from_utf8(output.recv().unwrap()).unwrap();
        let lines: Vec<_> = text.lines().collect();
        let (last, dropped) = (lines[lines.len() - 1], lines[lines.len() - 2]);
        assert_eq!(last, "the last");
        let expected = 1_000_000 - queued / line.len();
        assert!(dropped.contains(&format!(" {expected} lines of the log dropped")), "{dropped}");
    }

    #[test]
    fn flush_waits_for_the_output_within_its_timeout() {
        let (queue, is_writing, permit, output) = gated();
        queue.push(b"line\n");
        is_writing.recv().unwrap();
        queue.flush(Duration::from_millis(1));
        assert!(output.try_recv().is_err(), "the output is still blocked");
        permit.send(()).unwrap();
        queue.flush(Duration::from_secs(600));
        assert_eq!(output.try_recv().unwrap(), b"line\n");
    }

    #[test]
    fn long_line_is_cut_between_characters() {
        for length in MAX_LINE - 8..MAX_LINE + 8 {
            let line = format!("{}\n", "\u{20ac}".repeat(length));
            let mut bytes = Vec::new();
            append_line(&mut bytes, line.as_bytes());
            let text = String::from_utf8(bytes).unwrap();
            assert!(text.len() <= MAX_LINE && text.ends_with("...\n"), "{length}");
        }
        let mut bytes = Vec::new();
        append_line(&mut bytes, b"short\n");
        assert_eq!(bytes, b"short\n");
    }

    #[test]
    fn output_that_fails_or_is_interrupted_does_not_end_the_writer() {
        struct Fails(Vec<io::Result<usize>>, Vec<u8>);
        impl Write for Fails {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let n = self.0.pop().unwrap_or(Ok(bytes.len()))?;
                self.1.extend(&bytes[..n]);
                Ok(n)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let errors = [ErrorKind::Interrupted, ErrorKind::WouldBlock];
        let mut output = Fails(errors.map(|kind| Err(kind.into())).into(), Vec::new());
        output.0.push(Ok(2));
        write_batch(&mut output, b"line\n");
        assert_eq!(output.1, b"line\n");
        let mut closed = Fails(vec![Err(ErrorKind::BrokenPipe.into())], Vec::new());
        write_batch(&mut closed, b"line\n");
        assert!(closed.1.is_empty());
    }
}
