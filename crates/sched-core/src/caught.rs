//! Code of somebody else's that may panic: [`caught`].

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What `call` gives, or, as `panicked: …`, what it said when it panicked. For what a host brings along, called on a thread
/// that has to go on.
///
/// What the call was half-way through may be broken then: do not use it again. What a panic carries may panic itself when it
/// is dropped, which is caught, too.
pub fn caught<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let text = text_of(&*panic);
        // What the second panic carries may do the same again: it is not dropped.
        catch_unwind(AssertUnwindSafe(|| drop(panic))).unwrap_or_else(std::mem::forget);
        text
    })
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<&str>().copied();
    let said = said.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", said.unwrap_or("without a message"))
}

#[cfg(test)]
mod tests {
    use std::panic::panic_any;

    use super::*;

    /// Panics with its like when it is dropped.
    struct Again;

    impl Drop for Again {
        fn drop(&mut self) {
            panic_any(Self);
        }
    }

    #[test]
    fn what_a_panic_said_is_told_whatever_it_carries() {
        assert_eq!(caught(|| 7), Ok(7));
        assert_eq!(caught(|| -> u8 { panic!("on purpose") }), Err("panicked: on purpose".into()));
        assert_eq!(caught(|| -> u8 { panic!("{} times", 2) }), Err("panicked: 2 times".into()));
        assert_eq!(caught(|| -> u8 { panic_any(Again) }), Err("panicked: without a message".into()));
    }
}
