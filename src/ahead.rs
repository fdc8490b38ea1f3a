//! What comes next is made in a thread of its own while the present one is worked on.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

/// The values of a function of whole numbers, one after another; the next one is always under way.
///
/// The thread ends when this is dropped.
#[derive(Debug)]
pub struct Ahead<'scope, T> {
    values: Receiver<T>,
    maker: Option<ScopedJoinHandle<'scope, ()>>,
}

impl<'scope, T: Send + 'scope> Ahead<'scope, T> {
    /// `of(first)`, `of(first + 1)`, ….
    pub fn new(scope: &'scope Scope<'scope, '_>, first: u64, of: impl Fn(u64) -> T + Send + 'scope) -> Self {
        // Nothing is stored: one value waits to be taken while its maker waits, so that memory holds two at most.
        let (sender, values) = sync_channel(0);
        let make = move || {
            for number in first.. {
                if sender.send(of(number)).is_err() {
                    break;
                }
            }
        };
        Self { values, maker: Some(scope.spawn(make)) }
    }

    /// The next value.
    ///
    /// # Panics
    /// If the function did.
    pub fn take(&mut self) -> T {
        match self.values.recv() {
            Ok(value) => value,
            Err(_) => {
                let maker = self.maker.take().expect("a maker ends once");
                let panic = maker.join().expect_err("it sends for ever unless it panics");
                std::panic::resume_unwind(panic)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn values_come_in_order_and_one_is_made_ahead() {
        let (made, seen) = channel();
        let offset = 3;
        std::thread::scope(|scope| {
            let mut squares = Ahead::new(scope, offset, |number| {
                made.send(number).unwrap();
                number * number
            });
            // The first is made before it is asked for.
            assert_eq!(seen.recv().unwrap(), 3);
            assert_eq!(squares.take(), 9);
            assert_eq!(seen.recv().unwrap(), 4);
            assert_eq!((squares.take(), squares.take()), (16, 25));
        });
    }

    #[test]
    fn the_maker_ends_with_its_user_and_hands_on_its_panic() {
        let made = AtomicU64::new(0);
        std::thread::scope(|scope| {
            let mut values = Ahead::new(scope, 0, |_| made.fetch_add(1, Ordering::Relaxed));
            values.take();
        });
        assert!(made.load(Ordering::Relaxed) <= 2);
        let outcome = std::panic::catch_unwind(|| {
            std::thread::scope(|scope| {
                let mut values = Ahead::new(scope, 0, |number| assert!(number < 1, "it is too large"));
                values.take();
                values.take();
            });
        });
        let message = *outcome.unwrap_err().downcast::<&str>().unwrap();
        assert_eq!(message, "it is too large");
    }
}
