//! The program: parse, run, exit code.

fn main() -> std::process::ExitCode {
    mirrorball::cli::main().into()
}
