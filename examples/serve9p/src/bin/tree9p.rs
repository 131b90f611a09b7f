//! `tree9p address copy|put|remove ...`: copies, writes or removes a tree of files, by the 9P2000 client of the crate ninep.
//!
//! All messages are those of the crate, an independent client for tests of 9pmux. It keeps the fid of each path, and cannot
//! open a path twice, so each fid is clunked after its file. The server of the crate lets only the owner of a file write it,
//! by name: the user is $USER.

use ninep::{
    fs::{FileType, Mode, Perm},
    sync::client::Client,
};
use std::{env, error::Error, fs, path::Path, process::exit};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    if let Err(e) = run(&args) {
        eprintln!("tree9p: {e}");
        exit(1);
    }
}

fn run(args: &[&str]) -> Result<()> {
    match args {
        [address, "copy", from, to] => copy(&dial(address)?, from, Path::new(to)),
        [address, "put", from, to] => put(&dial(address)?, Path::new(from), to),
        [address, "remove", name] => remove(&dial(address)?, name),
        _ => {
            Err("usage: tree9p address copy name directory | put directory name | remove name"
                .into())
        }
    }
}

fn dial(address: &str) -> Result<Client> {
    let user = env::var("USER").map_err(|_| "no user: USER is not set")?;
    let client = match address.split('!').collect::<Vec<_>>()[..] {
        ["unix", path] => Client::new_unix_with_explicit_path(user, path, "")?,
        ["tcp", host, port] => Client::new_tcp(user, (host, port.parse::<u16>()?), "")?,
        _ => return Err(format!("{address}: not unix!path or tcp!host!port").into()),
    };
    Ok(client)
}

/// Copies `from` of the server into the new directory `to`, and prints the stat of each file.
fn copy(client: &Client, from: &str, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    let mut files = client.read_dir(from).map_err(|e| format!("{from}: {e}"))?;
    client.clunk_path(from)?;
    files.sort_by(|a, b| a.name.cmp(&b.name));
    for file in files {
        let name = format!("{from}/{}", file.name);
        let stat = client.stat(&name).map_err(|e| format!("{name}: {e}"))?;
        // the time of the last access is left out, because other clients change it
        println!(
            "{name} {:?} {:?} {} {} {} {} {}",
            stat.qid,
            stat.perms,
            stat.n_bytes,
            stat.owner,
            stat.group,
            stat.last_modified,
            stat.last_modified_by
        );
        if file.qid.ty == FileType::DIRECTORY {
            client.clunk_path(&name)?;
            copy(client, &name, &to.join(&file.name))?;
        } else {
            fs::write(
                to.join(&file.name),
                client.read(&name).map_err(|e| format!("{name}: {e}"))?,
            )?;
            client.clunk_path(&name)?;
        }
    }
    Ok(())
}

/// Copies the directory `from` into the new directory `to` of the server.
fn put(client: &Client, from: &Path, to: &str) -> Result<()> {
    create(client, to, Perm::DIRECTORY | Perm::from_bits_retain(0o755), Mode::READ)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = format!(
            "{to}/{}",
            entry.file_name().into_string().map_err(|_| "a name that is not UTF-8")?
        );
        if entry.file_type()?.is_dir() {
            put(client, &entry.path(), &name)?;
        } else {
            create(client, &name, Perm::from_bits_retain(0o644), Mode::WRITE)?;
            let content = fs::read(entry.path())?;
            if !content.is_empty() {
                client.write(&name, 0, &content).map_err(|e| format!("{name}: {e}"))?;
                client.clunk_path(&name)?;
            }
        }
    }
    Ok(())
}

fn create(client: &Client, name: &str, perms: Perm, mode: Mode) -> Result<()> {
    let (directory, last) = name.rsplit_once('/').unwrap_or(("", name));
    client.create(directory, last, perms, mode).map_err(|e| format!("{name}: {e}"))?;
    client.clunk_path(name)?;
    Ok(())
}

/// Removes `name` of the server, and everything in it.
fn remove(client: &Client, name: &str) -> Result<()> {
    let stat = client.stat(name).map_err(|e| format!("{name}: {e}"))?;
    if stat.qid.ty == FileType::DIRECTORY {
        let files = client.read_dir(name)?;
        client.clunk_path(name)?;
        for file in files {
            remove(client, &format!("{name}/{}", file.name))?;
        }
    }
    client.remove(name).map_err(|e| format!("{name}: {e}"))?;
    Ok(())
}
