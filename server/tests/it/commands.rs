//! How commands come by a password: from standard input, or by asking on the terminal, which shows nothing of it.

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::{DataDir, TestApp, command, owner, run};

const PASSWORD: &str = "a password of another kind";

/// A command that works on the database of the app.
fn beside(app: &TestApp, data_dir: &DataDir, arguments: &[&str]) -> Command {
    let mut command = command(data_dir, arguments);
    command.env("DATABASE_URL", app.database.url()).env("TRONCH_MASTER_KEY", "07".repeat(32));
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_terminal_a_password_comes_on_standard_input_or_not_at_all() {
    let data_dir = DataDir::create();
    for arguments in [
        ["member", "password", "--email", "ada@example.com"].as_slice(),
        &["member", "add", "--tenant", "acme", "--email", "ada@example.com", "--role", "viewer"],
        &["bootstrap", "--tenant", "acme", "--email", "ada@example.com"],
        &["demo", "--email", "ada@example.com"],
    ] {
        // Nothing is asked of a database, not even whether it is there.
        let mut command = command(&data_dir, arguments);
        let output = run(command.env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/nothing"), "");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && output.stdout.is_empty(), "{arguments:?}");
        assert!(said.contains("is no terminal") && said.contains("--password-stdin"), "{arguments:?}: {said}");
    }
}

/// A command on a terminal of its own, which `script` of util-linux makes.
struct Terminal {
    child: Child,
    shown: String,
}

impl Terminal {
    fn start(command: &Command) -> Self {
        let words = [command.get_program()].into_iter().chain(command.get_args());
        let line: Vec<String> = words.map(|word| format!("'{}'", word.to_string_lossy())).collect();
        let mut script = Command::new("script");
        let line = format!("tty; exec {}", line.join(" "));
        script.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => script.env(name, value),
                None => script.env_remove(name),
            };
        }
        script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        Self { child: script.spawn().expect("script, of util-linux"), shown: String::new() }
    }

    /// Waits for a question, and until the terminal shows nothing of what is typed, and answers it.
    fn answer(&mut self, question: &str, answer: &str) {
        let mut byte = [0];
        while !self.shown.ends_with(question) {
            let read = self.child.stdout.as_mut().expect("a pipe").read(&mut byte).expect("what is shown");
            assert_eq!(read, 1, "{question} was not asked: {}", self.shown);
            self.shown.push(char::from(byte[0]));
        }
        while !self.is_blind() {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        self.child.stdin.as_mut().expect("a pipe").write_all(format!("{answer}\n").as_bytes()).expect("it listens");
    }

    fn is_blind(&self) -> bool {
        let terminal = self.shown.lines().next().expect("the name of the terminal");
        let state = Command::new("stty").args(["-F", terminal, "-a"]).output().expect("stty");
        assert!(state.status.success(), "{terminal}: {}", String::from_utf8_lossy(&state.stderr));
        String::from_utf8_lossy(&state.stdout).split_whitespace().any(|word| word == "-echo")
    }

    /// Whether it went well, and everything that was shown.
    fn ended(mut self) -> (bool, String) {
        self.child.stdout.as_mut().expect("a pipe").read_to_string(&mut self.shown).expect("text");
        (self.child.wait().expect("an end").success(), self.shown)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_a_password_is_asked_for_twice_and_never_shown() {
    let (app, data_dir) = (TestApp::start().await, DataDir::create());
    let email = owner("acme");
    let arguments = ["member", "password", "--email", &email];
    let first = format!("Password of {email}: ");
    for (again, succeeds, words) in
        [("another one altogether", false, "another password"), (PASSWORD, true, "has a new password")]
    {
        let mut terminal = Terminal::start(&beside(&app, &data_dir, &arguments));
        terminal.answer(&first, PASSWORD);
        terminal.answer("The same again: ", again);
        let (succeeded, shown) = terminal.ended();
        assert!(succeeded == succeeds && shown.contains(words), "{shown}");
        assert!(!shown.contains(PASSWORD) && !shown.contains(again), "{shown}");
        let signed_in = app.anonymous().form("/sign-in", &[("email", &email), ("password", PASSWORD)]).await;
        assert_eq!(signed_in.status.as_u16(), if succeeds { 303 } else { 422 });
    }
}
