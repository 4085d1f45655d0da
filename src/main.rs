//! The command line: parse, run, and turn an error into one clear line and an exit code.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
