//! Asking Postgres about credentials. A few questions are under way at a time, each about all that came while those before
//! it were: the more is asked, the less each one costs, and with little to do nobody waits for company.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;
use tronch_core::Handle;

use super::memory::Found;
use crate::error::Error;
use crate::node::marks::Position;

/// Questions under way. One more would only divide the same handles into smaller ones.
const AT_ONCE: usize = 4;

/// Handles of one question, so that none takes long.
const HANDLES_MAX: usize = 64;

/// How long a question may take.
const QUESTION_MAX: Duration = Duration::from_secs(1);

/// Connections that are tried for one.
const ATTEMPTS: usize = 3;

/// What there is of each handle that has something, in any order.
pub(super) type Rows<F> = Vec<(Handle, Result<Found<F>, Error>)>;

/// Whom is asked.
pub(super) trait Source<F>: Clone + Send + Sync + 'static {
    /// Where this process is in the change log.
    fn position(&self) -> Position;

    /// What there is of several handles, in one question.
    fn read(&self, handles: &[Handle]) -> impl Future<Output = Result<Rows<F>, Error>> + Send;
}

/// What is there under a handle, and where this process was in the change log before the question was sent.
pub(super) struct Answer<F> {
    pub(super) read_at: Position,
    pub(super) found: Option<Found<F>>,
}

/// Whoever waits hears nothing if the question fails, which is logged once.
type Waiting<F> = (Handle, oneshot::Sender<Answer<F>>);

/// Those of one kind of credential.
pub(super) struct Questions<F>(Mutex<Queue<F>>);

struct Queue<F> {
    waiting: VecDeque<Waiting<F>>,
    under_way: usize,
}

impl<F> Default for Questions<F> {
    fn default() -> Self {
        Self(Mutex::new(Queue { waiting: VecDeque::new(), under_way: 0 }))
    }
}

impl<F: Send + 'static> Questions<F> {
    /// What is there under `handle`; nothing when that could not be found out.
    pub(super) async fn ask(self: &Arc<Self>, source: &impl Source<F>, handle: Handle) -> Option<Answer<F>> {
        let (answer, heard) = oneshot::channel();
        if self.join((handle, answer)) {
            tokio::spawn(Arc::clone(self).go_on(source.clone()));
        }
        heard.await.ok()
    }

    /// Whether there is room for one more question under way, which is taken.
    fn join(&self, waiting: Waiting<F>) -> bool {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        queue.waiting.push_back(waiting);
        let has_room = queue.under_way < AT_ONCE;
        queue.under_way += usize::from(has_room);
        has_room
    }

    /// Those who have waited longest and still do. With nobody left the room is given back, in the same moment: whoever
    /// comes next must find it.
    fn next(&self) -> Option<Vec<Waiting<F>>> {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = Vec::new();
        while next.len() < HANDLES_MAX
            && let Some(waiting) = queue.waiting.pop_front()
        {
            if !waiting.1.is_closed() {
                next.push(waiting);
            }
        }
        if next.is_empty() {
            queue.under_way -= 1;
            return None;
        }
        Some(next)
    }

    async fn go_on(self: Arc<Self>, source: impl Source<F>) {
        while let Some(waiting) = self.next() {
            // A task of its own: should one crash, the next is asked all the same.
            let question = tokio::spawn(ask_about(source.clone(), waiting));
            if let Err(crashed) = question.await {
                Error::internal(crashed).log_if_ours();
            }
        }
    }
}

async fn ask_about<F>(source: impl Source<F>, waiting: Vec<Waiting<F>>) {
    let handles: Vec<Handle> = waiting.iter().map(|(handle, _)| *handle).collect();
    // Before the question: what is committed from now on may be missing in the answer.
    let read_at = source.position();
    let mut found = match timeout(QUESTION_MAX, read(&source, &handles)).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return error.log_if_ours(),
        Err(_) => return,
    };
    for (handle, answer) in waiting {
        let place = found.iter().position(|(of, _)| *of == handle);
        let found = match place.map(|place| found.swap_remove(place).1).transpose() {
            Ok(found) => found,
            // What is wrong with one must not keep the others from being answered.
            Err(error) => {
                error.log_if_ours();
                continue;
            }
        };
        // Whoever asked may have gone.
        drop(answer.send(Answer { read_at, found }));
    }
}

async fn read<F>(source: &impl Source<F>, handles: &[Handle]) -> Result<Rows<F>, Error> {
    let mut found = source.read(handles).await;
    // A connection that died while nobody used it is noticed only now.
    for _ in 1..ATTEMPTS {
        if matches!(found, Err(Error::Unavailable { .. })) {
            found = source.read(handles).await;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;
    use crate::node::marks::Marks;

    /// Has something of every handle but those that end in 9; what it has of those that end in 8 is broken. Notes how many
    /// handles each question was about, and answers as often as it may.
    #[derive(Clone)]
    struct Slow {
        asked: Arc<Mutex<Vec<usize>>>,
        answers: Arc<Semaphore>,
        crashes: bool,
    }

    impl Slow {
        fn that_may_answer(times: usize) -> Self {
            Self { asked: Arc::default(), answers: Arc::new(Semaphore::new(times)), crashes: false }
        }

        fn asked(&self) -> Vec<usize> {
            self.asked.lock().expect("nobody crashed").clone()
        }
    }

    impl Source<String> for Slow {
        fn position(&self) -> Position {
            Marks::new(7).position()
        }

        async fn read(&self, handles: &[Handle]) -> Result<Rows<String>, Error> {
            self.asked.lock().expect("nobody crashed").push(handles.len());
            self.answers.acquire().await.expect("open").forget();
            assert!(!self.crashes, "as it was told to");
            let row = |handle: &Handle| match handle.as_str() {
                absent if absent.ends_with('9') => None,
                broken if broken.ends_with('8') => Some((*handle, Err(Error::internal("broken")))),
                text => Some((*handle, Ok((text.to_owned(), 7)))),
            };
            Ok(handles.iter().rev().filter_map(row).collect())
        }
    }

    fn handle(number: usize) -> Handle {
        format!("{number:011}").parse().expect("digits")
    }

    async fn asks(source: &Slow, questions: &Arc<Questions<String>>, numbers: std::ops::Range<usize>) -> Vec<Asking> {
        let mut asking = Vec::new();
        for number in numbers {
            let (source, questions) = (source.clone(), Arc::clone(questions));
            asking.push(tokio::spawn(async move { questions.ask(&source, handle(number)).await }));
            // Long enough for it to be in the queue, and for what may be asked to be asked.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        asking
    }

    type Asking = tokio::task::JoinHandle<Option<Answer<String>>>;

    #[tokio::test]
    async fn who_comes_while_others_are_waited_for_shares_a_question() {
        let (source, questions) = (Slow::that_may_answer(0), Arc::default());
        let asking = asks(&source, &questions, 0..100).await;
        assert_eq!(source.asked(), [1; AT_ONCE], "nobody waits for company");
        source.answers.add_permits(1_000);
        for (number, asking) in asking.into_iter().enumerate() {
            let answer = asking.await.expect("no panic");
            if number % 10 == 8 {
                assert!(answer.is_none(), "{number} is broken");
                continue;
            }
            let Answer { read_at, found } = answer.expect("an answer");
            assert_eq!(read_at.number(), 7);
            let own = handle(number).as_str().to_owned();
            assert_eq!(found, (number % 10 != 9).then_some((own, 7)), "its own and nobody else's");
        }
        assert_eq!(source.asked(), [1, 1, 1, 1, 64, 32]);
        let later = asks(&source, &questions, 100..103).await;
        assert_eq!(source.asked()[6..], [1, 1, 1], "with little to do nobody waits");
        assert_eq!(later.len(), 3);
    }

    #[tokio::test]
    async fn for_those_who_went_away_nobody_is_asked() {
        let (source, questions) = (Slow::that_may_answer(0), Arc::default());
        let asking = asks(&source, &questions, 0..20).await;
        asking[10..].iter().for_each(Asking::abort);
        tokio::time::sleep(Duration::from_millis(10)).await;
        source.answers.add_permits(1_000);
        for asking in asking.into_iter().take(8) {
            assert!(asking.await.expect("no panic").is_some());
        }
        assert_eq!(source.asked(), [1, 1, 1, 1, 6]);
    }

    /// What goes wrong with a question keeps none of the later ones from being asked.
    #[tokio::test]
    async fn one_that_crashes_or_hangs_gives_its_room_back() {
        let questions = Arc::default();
        let crashing = Slow { crashes: true, ..Slow::that_may_answer(1_000) };
        for asking in asks(&crashing, &questions, 0..40).await {
            assert!(asking.await.expect("no panic of the one who asks").is_none());
        }
        let hanging = Slow::that_may_answer(0);
        for asking in asks(&hanging, &questions, 0..4).await {
            assert!(asking.await.expect("no panic").is_none());
        }
        let whole = Slow::that_may_answer(1_000);
        for asking in asks(&whole, &questions, 0..4).await {
            assert!(asking.await.expect("no panic").is_some());
        }
    }
}
