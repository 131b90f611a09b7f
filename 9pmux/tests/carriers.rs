//! Programs that carry 9P: the examples of 9pmux(1) for `exec!`, with the programs themselves. Only addresses and files
//! are replaced by those of the test. An example is left out where its programs are not there.

#![cfg(feature = "program")]

mod support;

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use support::client::Client;
use support::program::{NINEPMUX, Program};
use support::stub::Stub;
use support::{Place, body, string, wait_for};

/// Returns the command of an example of the manual.
fn example(name: &str) -> &'static str {
    let page = include_str!("../man/9pmux.1");
    let (_, rest) = page.split_once(&format!(".\\\" example {name}\n")).unwrap();
    rest.lines().find(|line| !line.starts_with('.')).unwrap()
}

/// Returns true if all programs can be started; otherwise prints which is missing.
fn are_there(programs: &[&str]) -> bool {
    programs.iter().all(|program| {
        let quiet = |command: &mut Command| {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()
        };
        let is_there = quiet(Command::new(program).arg("-V")).is_ok();
        if !is_there {
            eprintln!("left out: {program} is not there");
        }
        is_there
    })
}

/// A program that ends with the test.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a shell command, with the directory of the sbin programs in its path.
fn shell(line: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    let path = std::env::var("PATH").unwrap_or_default();
    let of_9pmux = Path::new(NINEPMUX).parent().unwrap().display();
    command.args(["-c", &format!("exec {line}")]);
    command.env("PATH", format!("{of_9pmux}:{path}:/usr/sbin"));
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Starts a program that listens on a TCP port, which the command has as `PORT`. Returns it with the port.
fn listening(line: &str) -> (Started, u16) {
    let mut started = None;
    wait_for("a program listens", || {
        // Another program may take the port meanwhile; then this one ends, and is started again.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = shell(&line.replace("PORT", &port.to_string()));
        let mut program = Started(command.stderr(Stdio::null()).spawn().unwrap());
        wait_for("a program listens or ends", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
                || program.0.try_wait().unwrap().is_some()
        });
        started = program.0.try_wait().unwrap().is_none().then_some((program, port));
        started.is_some()
    });
    started.unwrap()
}

/// Runs the command of an example with these replacements, and attaches at its socket.
fn serves(place: &Place, name: &str, replacements: &[(&str, &str)]) -> Program {
    // A 9pmux that was killed while it started a command has a child that still accepts at the old name.
    let _ = std::fs::remove_file(place.path("store"));
    let program = Program::start(shell(&replaced(place, name, replacements)));
    program.wait_socket(&place.path("store"));
    program
}

fn replaced(place: &Place, name: &str, replacements: &[(&str, &str)]) -> String {
    let socket = place.path("store").display().to_string();
    let line = example(name).replace("unix!/tmp/store", &format!("unix!{socket}"));
    replacements.iter().fold(line, |line, (from, to)| {
        assert!(line.contains(from), "{line}");
        line.replace(from, to)
    })
}

/// Makes a certificate of this machine, in one file with its key.
fn certificate(place: &Place, name: &str) -> PathBuf {
    let (key, file) = (place.path(&format!("{name}.key")), place.path(name));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj"])
        .args(["/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&file)
        .stderr(Stdio::null())
        .status();
    assert!(made.unwrap().success());
    let both = [std::fs::read(&file).unwrap(), std::fs::read(&key).unwrap()].concat();
    std::fs::write(&file, both).unwrap();
    file
}

#[test]
fn socat_carries_tcp() {
    if !are_there(&["socat"]) {
        return;
    }
    let (stub, place) = (Stub::new(), Place::new());
    let line = format!("socat TCP-LISTEN:PORT,fork UNIX-CONNECT:{}", stub.path().display());
    let (_server, port) = listening(&line);
    let _program = serves(&place, "tcp-socat", &[("store:564", &format!("127.0.0.1:{port}"))]);
    Client::attach(&place.path("store")).stat(0);
}

/// The server's side is the manual's example for clients that connect by TLS.
#[test]
fn socat_and_openssl_carry_tls() {
    if !are_there(&["socat", "openssl"]) {
        return;
    }
    let (stub, place) = (Stub::new(), Place::new());
    let (own, other) = (certificate(&place, "own.pem"), certificate(&place, "other.pem"));
    let server = stub.path().display().to_string();
    let own = own.display().to_string();
    let line = replaced(
        &place,
        "tls-server",
        &[(":5640", ":PORT"), ("/etc/ssl/own.pem", &own), ("/run/9pmux/store", &server)],
    );
    let (_server, port) = listening(&line);
    let address = format!("localhost:{port}");
    for name in ["tls-socat", "tls-openssl"] {
        let with = |file: &str| -> Program {
            serves(&place, name, &[("store:5640", &address), ("/etc/ssl/store.pem", file)])
        };
        let program = with(&own);
        let mut client = Client::attach(&place.path("store"));
        // Messages of these sizes begin with a letter that is a command of openssl, unless it is quiet.
        for size in *b"QR" {
            let name = string(&"x".repeat(usize::from(size) - 19));
            let walk = body(&[&[0; 4], &5u32.to_le_bytes(), &[1, 0], &name]);
            assert_eq!(client.rpc(110, &walk).kind, 107);
        }
        client.stat(0);
        drop(program);
        // A server with another certificate gets nothing.
        let program = with(&other.display().to_string());
        let mut client = Client::connect(&place.path("store")).unwrap();
        client.send(100, 0xffff, &[&65_536u32.to_le_bytes()[..], b"\x06\x009P2000"].concat());
        let agrees = |got: support::Got| got.kind == 101 && got.body.ends_with(b"9P2000");
        assert!(!client.receive().is_some_and(agrees), "{name}");
        drop(program);
    }
}

#[test]
fn diod_serves_on_its_standard_input() {
    if !are_there(&["diod"]) && !Path::new("/usr/sbin/diod").exists() {
        return;
    }
    let place = Place::new();
    std::fs::create_dir(place.path("files")).unwrap();
    let files = place.path("files").display().to_string();
    let _program = serves(&place, "diod", &[("/home/ann", &files)]);
    let mut client = Client::connect(&place.path("store")).unwrap();
    client.version_in("9P2000.L");
    let uid = rustix::process::geteuid().as_raw().to_le_bytes();
    let name = [&(files.len() as u16).to_le_bytes(), files.as_bytes()].concat();
    let attach = [&[0; 4][..], &[0xff; 4], &[0, 0], &name, &uid].concat();
    let got = client.rpc(104, &attach);
    assert_eq!(got.kind, 105, "{got:?}");
}

#[test]
fn ssh_carries_a_socket_of_another_machine() {
    let sshd = Path::new("/usr/sbin/sshd");
    if !are_there(&["ssh", "ssh-keygen", "socat"]) || !sshd.exists() {
        return;
    }
    let (stub, place) = (Stub::new(), Place::new());
    for name in ["host", "user"] {
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(place.path(name));
        assert!(command.status().unwrap().success());
    }
    let directory = place.directory().display();
    let write = |name: &str, text: String| std::fs::write(place.path(name), text).unwrap();
    // The server runs once for each connection, without a port.
    write(
        "sshd",
        format!(
            "HostKey {directory}/host\nAuthorizedKeysFile {directory}/user.pub\nPidFile none\n\
            StrictModes no\nUsePAM no\nPermitRootLogin prohibit-password\n"
        ),
    );
    write(
        "ssh_config",
        format!(
            "Host store\nProxyCommand {} -i -f {directory}/sshd\nIdentityFile {directory}/user\n\
            IdentitiesOnly yes\nUserKnownHostsFile {directory}/known\nStrictHostKeyChecking no\n",
            sshd.display()
        ),
    );
    let with_config = format!("ssh -F {directory}/ssh_config ");
    let reached = shell(&format!("{with_config} -o BatchMode=yes store true")).output().unwrap();
    if !reached.status.success() {
        let said = String::from_utf8_lossy(&reached.stderr).into_owned();
        return eprintln!("left out: this user cannot run sshd: {said}");
    }
    let server = stub.path().display().to_string();
    let replacements = [("ssh ", &with_config[..]), ("/run/diod.sock", &server)];
    let _program = serves(&place, "ssh", &replacements);
    Client::attach(&place.path("store")).stat(0);
}
