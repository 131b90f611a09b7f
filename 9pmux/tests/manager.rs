//! A service manager: sockets that it passes, and the notifications that it receives.

#![cfg(feature = "program")]

mod support;

use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::{Command, Stdio};

use support::client::Client;
use support::program::{NINEPMUX, Program, Signal, serve};
use support::store::Store;
use support::stub::Stub;
use support::{PATIENCE, Place, unix, wait_for};

/// `9pmux serve` with these arguments, and with these listening sockets as descriptors 3 and 4, as a service manager
/// passes them. `names` and `pid` are LISTEN_FDNAMES and LISTEN_PID; `$$` is the number of the process.
fn managed(sockets: Vec<UnixListener>, names: &str, pid: &str, args: &[&str]) -> Command {
    let count = sockets.len();
    let mut ends = sockets.into_iter().map(|socket| Stdio::from(OwnedFd::from(socket)));
    let shell = format!(
        "exec 3<&0 4>&1 </dev/null >/dev/null; [ {count} = 2 ] || exec 4>&-; export LISTEN_PID={pid} LISTEN_FDS={count}; exec \"$@\""
    );
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &shell, "sh", NINEPMUX, "serve"]).args(args).env("LISTEN_FDNAMES", names);
    command.stdin(ends.next().unwrap_or_else(Stdio::null));
    command.stdout(ends.next().unwrap_or_else(Stdio::null));
    command
}

fn bound(path: &Path) -> UnixListener {
    UnixListener::bind(path).unwrap()
}

#[test]
fn sockets_of_a_service_manager_are_served_and_stay() {
    let stub = Stub::new();
    let place = Place::new();
    let (one, two) = (place.path("one"), place.path("two"));
    let cases: [(&str, &[&str], [bool; 2]); 5] = [
        ("one:two", &["fd!3"], [true, false]),
        ("one:two", &["fd!two"], [false, true]),
        ("one:two", &["fd!one", "fd!two"], [true, true]),
        // A service manager gives all sockets of a unit one name.
        ("same:same", &["fd!same"], [true, true]),
        ("same:same", &["fd!4", "fd!3"], [true, true]),
    ];
    for (names, listen, served) in cases {
        let sockets = vec![bound(&one), bound(&two)];
        let server = stub.address();
        let args = [&["-v", &server][..], listen].concat();
        let program = Program::start(managed(sockets, names, "$$", &args));
        for (path, is_served) in [&one, &two].into_iter().zip(served) {
            match is_served {
                true => drop(Client::attach(path)),
                false => drop(program.wait_said("of the service manager is not used")),
            }
        }
        program.signal(Signal::TERM);
        let (status, said) = program.end();
        assert!(status.success(), "{said:?}");
        for path in [&one, &two] {
            std::fs::remove_file(path).expect("it was not removed");
        }
    }
}

#[test]
fn names_of_no_descriptor_are_refused() {
    let stub = Stub::new();
    let place = Place::new();
    let (path, socket) = (place.path("s"), unix(&place.path("t")));
    let refused = |names: &str, pid: &str, args: &[&str], status: i32, words: &str| {
        let sockets = vec![bound(&path), bound(&place.path("other"))];
        let (ended, said) = Program::start(managed(sockets, names, pid, args)).end();
        assert_eq!(ended.code(), Some(status), "{said:?}");
        assert!(said[0].contains(words), "{said:?}");
        std::fs::remove_file(&path).unwrap();
        std::fs::remove_file(place.path("other")).unwrap();
    };
    let server = stub.address();
    let none = "no descriptor is named files: LISTEN_FDNAMES has it";
    refused("a:b", "$$", &[&server, "fd!files"], 4, none);
    refused("a:b", "$$", &["fd!files", &socket], 3, none);
    // The variables are for another process.
    refused("files:b", "1", &[&server, "fd!files"], 4, none);
    refused("files:files", "$$", &["fd!files", &socket], 3, "2 descriptors are named files");
    refused("files:b", "$$", &[&server, "fd!files", "fd!3"], 4, "given twice");
    refused("files:b", "$$", &["fd!files", &socket], 3, "listening socket");
}

#[test]
fn nothing_of_the_service_manager_reaches_a_started_program() {
    let place = Place::new();
    let (path, other, seen) = (place.path("s"), place.path("other"), place.path("seen"));
    let manager = UnixDatagram::bind(place.path("notify")).unwrap();
    let command = format!(
        "exec!{{ env; for n in 3 4 5 6 7 8 9; do [ ! -e /proc/$$/fd/$n ] || echo leaked $n; done; echo end; }} >{}; exec cat",
        seen.display()
    );
    let args = [&command[..], "fd!files"];
    let mut started = managed(vec![bound(&path), bound(&other)], "files:b", "$$", &args);
    started.env("NOTIFY_SOCKET", place.path("notify"));
    started.env("WATCHDOG_USEC", "1000000000").env("WATCHDOG_PID", "1");
    let _program = Program::start(started);
    let text = || std::fs::read_to_string(&seen).unwrap_or_default();
    wait_for("the program has written", || text().ends_with("end\n"));
    for word in ["LISTEN_", "NOTIFY_SOCKET", "WATCHDOG_", "leaked"] {
        assert!(!text().contains(word), "{}", text());
    }
    drop(manager);
}

/// Returns true if the program can be started.
fn is_there(program: &str) -> bool {
    let is_there = Command::new(program).arg("--version").stdout(Stdio::null()).status().is_ok();
    if !is_there {
        eprintln!("left out: {program} is not there");
    }
    is_there
}

#[test]
fn systemd_starts_it_for_the_first_client() {
    let activate = "systemd-socket-activate";
    if !is_there(activate) {
        return;
    }
    let stub = Stub::new();
    let place = Place::new();
    let path = place.path("s");
    let mut command = Command::new(activate);
    command.arg("-l").arg(&path).args(["--fdname=clients", NINEPMUX, "serve", &stub.address()]);
    let program = Program::start({
        command.arg("fd!clients").stdin(Stdio::null()).stdout(Stdio::null());
        command
    });
    program.wait_socket(&path);
    let mut client = Client::attach(&path);
    client.clunk(0);
    program.signal(Signal::TERM);
    assert!(program.end().0.success());
    assert!(path.exists());
}

/// A service manager that receives notifications.
struct Manager(UnixDatagram);

impl Manager {
    fn new(place: &Place) -> Manager {
        let socket = UnixDatagram::bind(place.path("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Manager(socket)
    }

    fn receive(&self) -> String {
        let mut buffer = [0; 4096];
        let n = self.0.recv(&mut buffer).expect("a notification");
        String::from_utf8(buffer[..n].to_vec()).unwrap()
    }

    /// Receives until a notification contains these words.
    fn wait(&self, words: &str) -> String {
        loop {
            let text = self.receive();
            if text.contains(words) {
                return text;
            }
        }
    }
}

/// `9pmux serve` with a service manager at `notify` of the place.
fn notifying(place: &Place, args: &[&str]) -> Command {
    let mut command = serve(args);
    command.env("NOTIFY_SOCKET", place.path("notify"));
    command
}

#[test]
fn readiness_and_the_end_are_notified() {
    let stub = Stub::new();
    let place = Place::new();
    let manager = Manager::new(&place);
    let socket = place.path("s");
    let program = Program::start(notifying(&place, &[&stub.address(), &unix(&socket)]));
    assert_eq!(manager.receive(), format!("READY=1\nSTATUS=serving {}", stub.address()));
    // Clients can connect by now.
    drop(Client::attach(&socket));
    program.signal(Signal::TERM);
    assert_eq!(manager.receive(), "STOPPING=1");
    assert!(program.end().0.success());
    // A server that cannot be reached is never ready.
    let missing = unix(&place.path("missing"));
    let (status, _) = Program::start(notifying(&place, &[&missing, &unix(&socket)])).end();
    assert_eq!(status.code(), Some(3));
    manager.0.set_nonblocking(true).unwrap();
    assert!(manager.0.recv(&mut [0; 10]).is_err());
}

#[test]
fn end_of_the_server_is_notified() {
    let stub = Stub::new();
    let place = Place::new();
    let manager = Manager::new(&place);
    let socket = place.path("s");
    let program = Program::start(notifying(&place, &[&stub.address(), &unix(&socket)]));
    manager.wait("READY=1");
    let client = Client::attach(&socket);
    stub.die();
    manager.wait("STOPPING=1");
    drop(client);
    assert_eq!(program.end().0.code(), Some(5));
}

#[test]
fn server_that_goes_and_comes_back_is_notified_as_status() {
    let store = Store::stopped("9P2000.L");
    let place = Place::new();
    let manager = Manager::new(&place);
    let args = ["--reconnect", "--dialect", "9P2000.L", &store.address(), &unix(&place.path("s"))];
    let _program = Program::start(notifying(&place, &args));
    // The server is not waited for.
    assert_eq!(manager.receive(), format!("READY=1\nSTATUS=serving {}", store.address()));
    let away = format!("STATUS={} is away since ", store.address());
    for n in 1..3 {
        let status = manager.wait("try 1");
        assert!(status.starts_with(&away) && status.contains(" UTC, try 1"), "{status}");
        store.start();
        let status = manager.wait("serving");
        assert_eq!(status, format!("STATUS=serving {}, back {n} times", store.address()));
        store.stop();
        store.disconnect();
    }
}

#[test]
fn stream_of_a_link_that_goes_and_comes_back_is_notified_as_status() {
    let (stub, place) = (Stub::new(), Place::new());
    let manager = Manager::new(&place);
    let stream = place.path("stream");
    let far = || {
        let listen = format!("listen!{}", unix(&stream));
        let mut command = Command::new(NINEPMUX);
        command.args(["link", &listen, "--export", &stub.address()]).stdin(Stdio::null());
        Program::start(command)
    };
    let mut command = Command::new(NINEPMUX);
    command.args(["link", "--reconnect", &unix(&stream), "--post", &unix(&place.path("s"))]);
    command.stdin(Stdio::null()).env("NOTIFY_SOCKET", place.path("notify"));
    let _near = Program::start(command);
    assert_eq!(manager.receive(), format!("READY=1\nSTATUS=serving {}", unix(&stream)));
    let away = format!("STATUS={} is away since ", unix(&stream));
    for n in 1..3 {
        let status = manager.wait("try 1");
        assert!(status.starts_with(&away) && status.contains(" UTC, try 1"), "{status}");
        let mut far = far();
        // The other end is back when it has agreed to a version, for which a client asks.
        far.wait_socket(&stream);
        let client = Client::attach(&place.path("s"));
        let status = manager.wait("serving");
        assert_eq!(status, format!("STATUS=serving {}, back {n} times", unix(&stream)));
        far.kill();
        drop(client);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn signs_of_life_reach_an_abstract_address() {
    use std::os::linux::net::SocketAddrExt;
    let stub = Stub::new();
    let place = Place::new();
    let name = format!("9pmux-test-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let manager = Manager(UnixDatagram::bind_addr(&address).unwrap());
    manager.0.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = serve(&[&stub.address(), &unix(&place.path("s"))]);
    command.env("NOTIFY_SOCKET", format!("@{name}")).env("WATCHDOG_USEC", "100000");
    let _program = Program::start(command);
    assert!(manager.receive().starts_with("READY=1\n"));
    for _ in 0..3 {
        assert_eq!(manager.receive(), "WATCHDOG=1");
    }
}
