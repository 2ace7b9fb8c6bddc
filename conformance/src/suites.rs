//! Every suite that an engine has to pass.

/// Makes the tests of every suite by a macro of the engine's, a module for each: `$tests! { $session: name =
/// function, .. }`, where `$session` makes of an engine, and of whether sleep is forced, what the function takes.
#[macro_export]
macro_rules! for_each_suite {
    ($tests:ident) => {
        mod keys {
            use super::*;

            $crate::for_each_engine_case!($tests, $crate::Session::new);
        }

        mod keys_of_sql_objects {
            use super::*;

            $crate::for_each_engine_case!($tests, $crate::Session::of_sql_objects);
        }

        mod rows {
            use super::*;

            $crate::for_each_sql_case!($tests, $crate::Session::new);
        }

        mod sockets {
            use super::*;

            $crate::for_each_socket_case!($tests, $crate::Rooms::new);
        }
    };
}
