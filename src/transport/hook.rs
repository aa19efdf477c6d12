//! Commands after pushes, here or on the host.

use std::rc::Rc;

use crate::transport::process::{self, Spec};
use crate::transport::ssh::Master;
use mirrorball_core::data::name::Escaped;
use mirrorball_core::data::plan::{HookPlan, HookSide};
use mirrorball_core::data::step::Exit;

/// For any shell that POSIX speaks of.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Runs a command with these variables, and this list on its standard input. The error says how it failed.
/// Dropping the future ends it.
pub async fn run(
    hook: &HookPlan,
    environment: Vec<(String, String)>,
    list: Vec<u8>,
    master: Option<Rc<Master>>,
) -> Result<(), String> {
    let (program, arguments) = hook.run.split_first().ok_or("there is no command")?;
    let (spec, _in_use) = match (hook.on, master) {
        (HookSide::Here, _) => {
            let arguments = arguments.iter().map(Into::into).collect();
            let spec = Spec { program: program.into(), arguments, environment, ..Spec::default() };
            (spec, None)
        }
        (HookSide::Host, None) => return Err("the host is not reached by ssh".into()),
        (HookSide::Host, Some(master)) => {
            let in_use = master.ready().await?;
            // A login shell on the other side reads this, whichever it is.
            let variables = environment.iter().map(|(name, value)| format!("{name}={value}"));
            let words = std::iter::once("env".to_string()).chain(variables);
            let words = words.chain(hook.run.iter().cloned()).map(|word| quoted(&word));
            let line = words.collect::<Vec<_>>().join(" ");
            let mut arguments = master.client_arguments();
            arguments.extend(["-T".into(), master.address().into(), line.into()]);
            (Spec { program: "ssh".into(), arguments, ..Spec::default() }, Some(in_use))
        }
    };
    let spec = Spec { stdin: list, ..spec };
    let ended = tokio::time::timeout(hook.timeout, process::run(spec, |_| (), |_| ())).await;
    let Ok(ended) = ended else {
        let timeout = humantime::format_duration(hook.timeout);
        return Err(format!("it was ended after {timeout}"));
    };
    let final_line =
        ended.stderr.trim_ascii().rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let said =
        if final_line.is_empty() { String::new() } else { format!(": {}", Escaped(final_line)) };
    match ended.exit {
        Exit::Code(0) => Ok(()),
        Exit::Code(code) => Err(format!("exit code {code}{said}")),
        Exit::Signal(signal) => Err(format!("killed by signal {signal}{said}")),
        Exit::NotStarted => Err(said.trim_start_matches(": ").to_string()),
    }
}
