//! `9pmux stat` as a process: reports, the live table on a terminal, and its exit statuses.

#![cfg(feature = "stat")]

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};
use support::client::Client;
use support::program::{NINEPMUX, Program, serve};
use support::stub::Stub;
use support::{Place, body, next_request, read_message, send_reply, unix, wait_for};

/// A 9pmux with a client.
struct World {
    stub: Stub,
    place: Place,
    program: Program,
    client: Client,
}

impl World {
    fn new() -> World {
        let (stub, place) = (Stub::new(), Place::new());
        let program = Program::serving(&stub.address(), &place.path("s"), &["-v"]);
        let client = Client::attach(&place.path("s"));
        World { stub, place, program, client }
    }

    fn address(&self) -> String {
        unix(&self.place.path("s"))
    }

    /// Returns the output of `9pmux stat` with these options.
    fn stat(&self, options: &[&str]) -> Output {
        stat(&[options, &[&self.address()]].concat())
    }
}

fn stat(args: &[&str]) -> Output {
    Command::new(NINEPMUX).arg("stat").args(args).stdin(Stdio::null()).output().unwrap()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn report_has_fixed_columns() {
    let world = World::new();
    for options in [&[][..], &["-1"]] {
        let report = text(&world.stat(options));
        let mut parts = report.split("\n\n");
        assert!(parts.next().unwrap().starts_with("9pmux "), "{report}");
        let upstream = parts.next().unwrap();
        assert!(upstream.starts_with("address "), "{report}");
        assert!(upstream.contains(&world.stub.address()), "{report}");
        let clients: Vec<&str> = parts.next().unwrap().lines().collect();
        let columns = clients[0].split_whitespace();
        assert!(columns.clone().count() == 17 && columns.clone().last() == Some("state"));
        assert!(clients.iter().any(|line| line.contains(" glenda ")), "{report}");
        let stats = parts.next().unwrap();
        assert!(stats.lines().any(|line| line.starts_with("accepted_total ")), "{report}");
    }
    drop(world.client);
}

#[test]
fn json_is_an_object_a_line_and_prometheus_is_the_file() {
    let world = World::new();
    let report = text(&world.stat(&["--json"]));
    assert_eq!(report.lines().count(), 1);
    let value: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(value["stats"]["fids"], 1);
    let clients = value["clients"].as_array().unwrap();
    assert!(clients.iter().any(|client| client["user"] == "glenda" && client["fids"] == 1));
    assert!(value["latency"]["Tattach"]["count"] == 1 && value["upstream"][0]["msize"].is_u64());
    let metrics = text(&world.stat(&["--prometheus"]));
    check_metrics(&metrics);
    check_with_promtool(&metrics);
    drop(world.client);
}

/// The labels and the value of each sample of a metric.
type Samples = Vec<(String, f64)>;

/// Checks metrics by the rules of Prometheus' text format and of its names, which `promtool check metrics` has too.
fn check_metrics(metrics: &str) {
    let is_name = |name: &str| {
        let is_valid = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        name.chars().all(is_valid) && !name.starts_with(|c: char| c.is_ascii_digit())
    };
    let mut all: Vec<(String, String, Samples)> = Vec::new();
    let mut lines = metrics.lines();
    assert!(metrics.ends_with('\n'), "{metrics}");
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').expect("a name and a text");
            assert!(is_name(name) && text.ends_with('.') && !text.contains('\\'), "{line}");
            let kind = lines.next().and_then(|line| line.strip_prefix(&format!("# TYPE {name} ")));
            let kind = kind.expect("a type behind the help").to_owned();
            assert!(!all.iter().any(|known| known.0 == name), "{name} twice");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
            all.push((name.to_owned(), kind, Vec::new()));
            continue;
        }
        let (name, kind, samples) = all.last_mut().expect("a help and a type first");
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let labels = series.strip_prefix(&name[..]).expect("samples of one metric stand together");
        let labels = match &kind[..] {
            "histogram" => labels.to_owned(),
            _ if labels.is_empty() => String::new(),
            _ => labels.strip_prefix('{').and_then(|it| it.strip_suffix('}')).unwrap().to_owned(),
        };
        let quoted = labels.split(',').filter_map(|label| label.split_once('=')).map(|it| it.1);
        for value in quoted {
            let inside = value.trim_end_matches('}').strip_prefix('"').unwrap();
            let inside = inside.strip_suffix('"').expect("quotes");
            assert!(!inside.contains(['"', '\\', '\n']), "{line}");
        }
        assert!(!samples.iter().any(|known| known.0 == labels), "{series} twice");
        samples.push((labels, value.parse().expect("a number")));
    }
    assert!(all.len() > 20, "{metrics}");
    let (_, kind, samples) = all.last().unwrap();
    assert_eq!(kind, "histogram");
    let value = |series: &str| samples.iter().find(|sample| sample.0 == series).map(|it| it.1);
    let buckets = samples.iter().filter(|it| it.0.starts_with("_bucket{type=\"Tattach\",le="));
    let counts: Vec<f64> = buckets.map(|it| it.1).collect();
    assert!(counts.len() == 27 && counts.is_sorted(), "{counts:?}");
    let count = value("_count{type=\"Tattach\"}");
    assert!(count == counts.last().copied() && count == Some(1.0), "{metrics}");
    assert_eq!(value("_bucket{type=\"Tattach\",le=\"+Inf\"}"), count);
    assert!(value("_sum{type=\"Tattach\"}").is_some_and(|sum| sum > 0.0), "{metrics}");
    let requests = all.iter().find(|it| it.0 == "ninepmux_requests_total").unwrap();
    assert!(requests.2.iter().any(|it| it.0 == "type=\"Tattach\"" && it.1 == 3.0), "{metrics}");
}

/// Checks metrics with Prometheus' own tool, where it is installed.
fn check_with_promtool(metrics: &str) {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let Ok(mut child) = command.stderr(Stdio::piped()).spawn() else {
        return eprintln!("left out: promtool is not there");
    };
    child.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    // It also prints what it would name otherwise, which is an error for it.
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

/// A program that says that it is 9pmux, and whose files have this text, without an end if `is_endless`.
fn another_program(listener: UnixListener, text: &'static str, is_endless: bool) {
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let version = next_request(&mut stream, 100);
        send_reply(&mut stream, &version, &version.body);
        while let Ok(Some(request)) = read_message(&mut stream) {
            let offset = request.body.get(4..12).unwrap_or(&[0; 8]);
            let data = if offset == [0; 8] || is_endless { text } else { "" };
            let qid = [0; 13];
            let reply = match request.kind {
                104 => body(&[&qid]),
                110 => body(&[&[1, 0], &qid]),
                112 => body(&[&qid, &[0; 4]]),
                116 => body(&[&(data.len() as u32).to_le_bytes(), data.as_bytes()]),
                _ => Vec::new(),
            };
            send_reply(&mut stream, &request, &reply);
        }
    });
}

#[test]
fn another_program_reaches_neither_the_terminal_nor_all_memory() {
    let place = Place::new();
    for (n, options) in [&["-1"][..], &["--prometheus"], &["--json"]].into_iter().enumerate() {
        let socket = place.path(&n.to_string());
        let said = "a b\nc\u{9b}31m \x1b]0;title\x07\n";
        another_program(UnixListener::bind(&socket).unwrap(), said, false);
        let report = text(&stat(&[options, &[&unix(&socket)]].concat()));
        let is_safe = |c: char| !c.is_control() || c == '\n';
        assert!(report.chars().all(is_safe) && report.contains("x1b]0;title"), "{report:?}");
    }
    let socket = place.path("endless");
    let listener = UnixListener::bind(&socket).unwrap();
    another_program(listener, Box::leak("line\n".repeat(20_000).into()), true);
    fails(&stat(&["-1", &unix(&socket)]), 8, "its file version has no end");
}

#[test]
fn reports_go_on_until_the_reader_has_read_enough() {
    let world = World::new();
    let mut command = Command::new(NINEPMUX);
    command.args(["stat", "-i", "0.01", "--json", &world.address()]).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut output = child.stdout.take().unwrap();
    let mut some = [0; 10_000];
    output.read_exact(&mut some).unwrap();
    drop(output);
    assert!(child.wait().unwrap().success());
    drop(world.client);
}

#[track_caller]
fn fails(output: &Output, status: i32, words: &str) {
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(status), "{said}");
    assert!(said.starts_with("9pmux: ") && said.contains(words), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn each_failure_has_its_status() {
    let place = Place::new();
    let nothing = unix(&place.path("nothing"));
    fails(&stat(&[&nothing]), 3, &format!("cannot reach {nothing}: "));
    let stub = Stub::new();
    fails(&stat(&[&stub.address()]), 7, "has no control tree: it is not 9pmux, or");
    let socket = place.path("s");
    let _program = Program::serving(&stub.address(), &socket, &["--control", "none"]);
    fails(&stat(&[&unix(&socket)]), 7, "started with --control none");
    let world = World::new();
    let other = stat(&[&world.address(), "--control", "/x"]);
    fails(&other, 7, "has no /x for this user");
    for args in ["-1", "exec!x", "fd!3", "fd!clients", "-", "-i 0 x", "-s size x"] {
        let args: Vec<&str> = args.split(' ').collect();
        assert_eq!(stat(&args).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn network_needs_an_option_of_9pmux() {
    let stub = Stub::new();
    // A port that the system has chosen is in the log.
    let program = Program::start(serve(&["-v", &stub.address(), "tcp!127.0.0.1!0"]));
    let line = program.wait_said("listening on tcp!");
    let address = &line[line.find("tcp!").unwrap()..];
    fails(&stat(&[address]), 7, "has no /mux for a network: 9pmux needs --control-tcp");
}

#[test]
#[cfg(target_os = "linux")]
fn another_user_is_told_so() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let world = World::new();
    let open = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    open(world.place.directory(), 0o755);
    open(&world.place.path("s"), 0o777);
    // The program may be where another user cannot start it.
    let copy = world.place.path("9pmux");
    std::fs::copy(NINEPMUX, &copy).unwrap();
    let mut command = Command::new(copy);
    command.args(["stat", &world.address()]).stdin(Stdio::null()).uid(65_534);
    let mut output = None;
    // A program that another test starts at this moment may still have the copy open for writing.
    wait_for("the copy can be started", || {
        output = match command.output() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => None,
            started => Some(started.unwrap()),
        };
        output.is_some()
    });
    fails(&output.unwrap(), 7, "it is for the user who runs 9pmux, and root");
}

/// A terminal: what a program has written to it, as a screen.
struct Screen {
    cells: Vec<Vec<char>>,
    row: usize,
    column: usize,
    all: Vec<u8>,
}

impl Screen {
    fn new() -> Screen {
        Screen { cells: vec![vec![' '; 200]; 60], row: 0, column: 0, all: Vec::new() }
    }

    /// Interprets what a program has written: text, and the sequences that move the cursor and erase.
    fn of(all: &[u8]) -> Screen {
        let mut screen = Screen::new();
        screen.all = all.to_vec();
        let text = String::from_utf8_lossy(all).into_owned();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '\x1b' if chars.as_str().starts_with('[') => {
                    chars.next();
                    let parameters: String =
                        chars.as_str().chars().take_while(|c| !c.is_ascii_alphabetic()).collect();
                    let mut rest = chars.as_str()[parameters.len()..].chars();
                    let command = rest.next();
                    chars = rest;
                    screen.control(&parameters, command);
                }
                '\n' => screen.row += 1,
                '\r' => screen.column = 0,
                c if !c.is_control() => {
                    if let Some(cell) =
                        screen.cells.get_mut(screen.row).and_then(|row| row.get_mut(screen.column))
                    {
                        *cell = c;
                    }
                    screen.column += 1;
                }
                _ => {}
            }
        }
        screen
    }

    fn control(&mut self, parameters: &str, command: Option<char>) {
        let mut numbers = parameters.split(';').map(|number| number.parse().unwrap_or(1_usize));
        match command {
            Some('H') => {
                self.row = numbers.next().unwrap_or(1) - 1;
                self.column = numbers.next().unwrap_or(1) - 1;
            }
            Some('J') => self.cells = Screen::new().cells,
            _ => {}
        }
    }

    fn line(&self, row: usize) -> String {
        self.cells[row].iter().collect::<String>().trim_end().to_owned()
    }
}

/// `9pmux stat` on a terminal.
struct Live {
    child: Child,
    /// The terminal, until the end.
    terminal: Option<OwnedFd>,
    keys: File,
    output: Arc<Mutex<Vec<u8>>>,
    /// Reads the output until the terminal has no user.
    reader: Option<JoinHandle<()>>,
    before: Termios,
}

impl Live {
    fn new(address: &str, size: (u16, u16)) -> Live {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap();
        let mode = rustix::fs::Mode::empty();
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
        let theirs = rustix::fs::open(name, flags, mode).unwrap();
        resize(&theirs, size);
        let before = tcgetattr(&theirs).unwrap();
        let mut command = Command::new(NINEPMUX);
        command.args(["stat", "-i", "0.05", address]).env("TERM", "xterm");
        let copy = || Stdio::from(theirs.try_clone().unwrap());
        let child = command.stdin(copy()).stdout(copy()).stderr(copy()).spawn().unwrap();
        let output = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, to) = (File::from(ours.try_clone().unwrap()), output.clone());
        let reader = thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = reader.read(&mut bytes) {
                to.lock().unwrap().extend_from_slice(&bytes[..n]);
            }
        });
        let (terminal, reader) = (Some(theirs), Some(reader));
        Live { child, terminal, keys: File::from(ours), output, reader, before }
    }

    fn screen(&self) -> Screen {
        Screen::of(&self.output.lock().unwrap())
    }

    fn wait_line(&self, row: usize, words: &str) {
        wait_for(words, || self.screen().line(row).contains(words));
    }

    fn press(&mut self, key: &str) {
        self.keys.write_all(key.as_bytes()).unwrap();
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end, after which the terminal must be as before. Returns the status and all output.
    fn end(mut self) -> (ExitStatus, String) {
        let mut status = None;
        wait_for("the end of stat", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        let terminal = self.terminal.take().unwrap();
        let after = tcgetattr(&terminal).unwrap();
        // The reader ends when it has read everything.
        drop(terminal);
        self.reader.take().unwrap().join().unwrap();
        assert_eq!(after.local_modes, self.before.local_modes, "the mode of the terminal");
        assert_eq!(after.input_modes, self.before.input_modes);
        let all = String::from_utf8_lossy(&self.output.lock().unwrap()).into_owned();
        assert!(all.contains("\x1b[?1049l"), "the screen is left");
        assert!(all.contains("\x1b[?25h"), "the cursor is shown again");
        (status.unwrap(), all)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn resize(terminal: impl AsFd, (ws_col, ws_row): (u16, u16)) {
    tcsetwinsize(terminal, Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
}

#[test]
fn live_table_shows_clients_and_keys_work() {
    let mut world = World::new();
    let mut live = Live::new(&world.address(), (100, 24));
    live.wait_line(0, "9pmux ");
    live.wait_line(1, "req/s ");
    live.wait_line(2, "ID USER     FROM");
    live.wait_line(23, "q ends  arrows move  s order  d drops  (by req)");
    let rows = |screen: Screen| (3..23).map(|row| screen.line(row)).collect::<Vec<_>>();
    wait_for("both clients", || rows(live.screen()).iter().any(|line| line.contains(" glenda ")));
    // In the order of fids the client of stat, with one fid more at times, may be the first: mark by the number.
    for _ in 0..5 {
        live.press("s");
    }
    live.wait_line(23, "(by id)");
    live.wait_line(3, "glenda");
    live.press("d");
    live.wait_line(23, "drop client ");
    live.press("n");
    live.wait_line(23, "q ends");
    world.client.stat(0);
    live.press("d");
    live.wait_line(23, "drop client ");
    live.press("y");
    live.wait_line(23, "is disconnected");
    assert!(world.client.receive().is_none());
    world.program.wait_said("(closed by 9pmux)");
    live.press("q");
    let (status, _) = live.end();
    assert!(status.success());
}

#[test]
fn live_table_follows_the_size_of_the_terminal() {
    let world = World::new();
    let live = Live::new(&world.address(), (80, 24));
    live.wait_line(23, "q ends");
    for (size, last) in [((40, 10), 9), ((100, 30), 29)] {
        resize(live.terminal.as_ref().unwrap(), size);
        live.signal(Signal::WINCH);
        live.wait_line(last, "q ends");
        live.wait_line(0, "9pmux ");
    }
    drop(world.client);
}

#[test]
fn table_of_a_9pmux_that_does_not_reply_is_ended_by_keys_and_signals() {
    for way in ["q", "\x03", "TERM"] {
        let world = World::new();
        let mut live = Live::new(&world.address(), (80, 24));
        live.wait_line(23, "q ends");
        world.program.signal(Signal::STOP);
        match way {
            "TERM" => live.signal(Signal::TERM),
            // Keys count also before the table waits for a reply.
            key => live.press(key),
        }
        // Without that the end is the loss of the connection, after ten seconds.
        let (status, all) = live.end();
        assert!(status.success(), "{all:?}");
        drop(world.client);
    }
}

#[test]
fn terminal_is_restored_at_every_end() {
    for way in ["\x03", "TERM", "lost"] {
        let mut world = World::new();
        let mut live = Live::new(&world.address(), (80, 24));
        live.wait_line(23, "q ends");
        match way {
            "TERM" => live.signal(Signal::TERM),
            "lost" => world.program.kill(),
            key => live.press(key),
        }
        let (status, all) = live.end();
        match way {
            "lost" => {
                assert_eq!(status.code(), Some(5));
                assert!(all.ends_with("the connection is lost\r\n"), "{all:?}");
            }
            _ => assert!(status.success()),
        }
    }
}
