//! Two ends of a link, with clients and a server at each, joined by two pipes. Steps are chosen from outside.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::engine::fuzz::messages::*;
use crate::engine::{ClientId, Config, Engine, Reconnect};
use crate::link::{Link, LinkConfig, MAX_REQUESTS};
use crate::wire::{Dialect, HEADER, NOFID, kind, tag, u16_at, u32_at};

pub const MSIZE: u32 = 8192;

/// How an end decides whether to read the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Design {
    /// The rules of a link.
    Link,
    /// No window: the export's own limits decide.
    StopWhenFull,
    /// A window, but the end reads only while its output is short.
    WaitForOutput,
}

#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub design: Design,
    pub window: usize,
    /// The capacity of a pipe.
    pub pipe: usize,
    pub clients: usize,
    /// The requests of each client.
    pub requests: usize,
    /// The maximum count of a read.
    pub count: usize,
    /// Whether requests are only reads of that count.
    pub only_reads: bool,
    /// Whether servers and clients may go.
    pub deaths: bool,
    /// Whether sessions survive that, and the end of the stream.
    pub reconnects: bool,
}

/// A source of choices.
pub trait Choose {
    /// Returns a number below `n`.
    fn choose(&mut self, n: usize) -> usize;
}

impl Choose for Random {
    fn choose(&mut self, n: usize) -> usize {
        self.below(n)
    }
}

struct Client {
    id: ClientId,
    /// The messages that it will send.
    script: VecDeque<Vec<u8>>,
    /// The bytes of a message that are not sent yet.
    sending: Vec<u8>,
    /// The requests without a reply, by tag.
    asked: BTreeMap<u16, Vec<u8>>,
    received: Vec<u8>,
    replies: usize,
    may_fail: bool,
}

impl Client {
    /// Returns true if the next message must wait for replies.
    fn waits(&self) -> bool {
        // The version and the attach come first.
        let first = |message: &Vec<u8>| [100, 104].contains(&kind(message));
        self.asked.values().any(first)
    }

    fn is_done(&self) -> bool {
        self.script.is_empty() && self.sending.is_empty() && self.asked.is_empty()
    }

    fn receives(&mut self, bytes: &[u8]) {
        self.received.extend(bytes);
        for reply in cut(&mut self.received) {
            let request = self.asked.remove(&tag(&reply)).expect("a reply to a request");
            let is_error = self.may_fail && kind(&reply) == 7;
            assert!(is_error || kind(&reply) == kind(&request) + 1, "{reply:?}");
            assert!(!is_error || kind(&request) != 108, "a Tflush never fails");
            self.replies += 1;
            if is_error {
                continue;
            }
            if kind(&request) == 108 {
                // Without a reply before, the flushed request never happened.
                self.asked.remove(&u16_at(&request, HEADER));
            }
            if kind(&request) == 116 {
                let count = u32_at(&reply, HEADER);
                assert!(count > 0 && count <= u32_at(&request, HEADER + 12));
            }
        }
    }
}

pub struct End {
    pub link: Link,
    pub post: Engine,
    clients: Vec<Client>,
    /// The bytes of a request that has not reached the server.
    at_server: Vec<u8>,
    /// The requests at the server.
    pending: Vec<Vec<u8>>,
    /// The fids at the server.
    fids: BTreeSet<u32>,
    config: LinkConfig,
}

impl End {
    fn new(plan: &Plan, choose: &mut impl Choose) -> End {
        let mut config = LinkConfig { window: plan.window, keepalive: None };
        let reconnect =
            plan.reconnects.then(|| Reconnect { patience: None, ..Reconnect::default() });
        let base = Config { msize: MSIZE, reconnect, ..Config::default() };
        let mut export = config.export(base.clone(), true);
        let mut post = config.post(base);
        if plan.design == Design::StopWhenFull {
            (export.max_inflight, export.max_reply_bytes) = (4, plan.window / 16);
            (export.max_inbox_bytes, post.window) = (1, None);
            config.window = 1 << 30;
        }
        let mut post = Engine::new(post);
        if plan.reconnects {
            post.server_connected();
        }
        let clients = (0..plan.clients)
            .map(|_| Client {
                id: post.client_connected(),
                script: script(plan, choose),
                sending: Vec::new(),
                asked: BTreeMap::new(),
                received: Vec::new(),
                replies: 0,
                may_fail: plan.deaths || plan.reconnects,
            })
            .collect();
        let link = Link::new(Engine::new(export), &config, std::time::Duration::ZERO);
        let (at_server, pending, fids) = (Vec::new(), Vec::new(), BTreeSet::new());
        End { link, post, clients, at_server, pending, fids, config }
    }

    fn reads(&mut self, plan: &Plan) -> bool {
        match plan.design {
            Design::Link => self.link.wants_read(&self.post),
            Design::StopWhenFull => self.link.export.wants_read(self.link.far),
            Design::WaitForOutput => {
                let output = self.link.export.output(self.link.far).len();
                output + self.post.server_output().len() < plan.window / 16
            }
        }
    }

    fn client_sends(&mut self, n: usize, choose: &mut impl Choose) -> bool {
        let client = &mut self.clients[n];
        if client.sending.is_empty() {
            if client.waits() {
                return false;
            }
            let Some(message) = client.script.pop_front() else {
                return false;
            };
            client.asked.insert(tag(&message), message.clone());
            client.sending = message;
        }
        if !self.post.wants_read(client.id) {
            return false;
        }
        let len = 1 + choose.choose(client.sending.len());
        let bytes: Vec<u8> = client.sending.drain(..len).collect();
        self.post.client_bytes(client.id, &bytes);
        true
    }

    fn client_reads(&mut self, n: usize, choose: &mut impl Choose) -> bool {
        let client = &mut self.clients[n];
        let output = self.post.output(client.id);
        if output.is_empty() {
            return false;
        }
        let len = 1 + choose.choose(output.len());
        let bytes = output[..len].to_vec();
        client.receives(&bytes);
        self.post.client_wrote(client.id, len);
        true
    }

    fn server_reads(&mut self, choose: &mut impl Choose) -> bool {
        if self.link.export.wants_redial() {
            self.link.export.server_connected();
            return true;
        }
        let output = self.link.export.server_output();
        if output.is_empty() {
            return false;
        }
        let len = 1 + choose.choose(output.len());
        self.at_server.extend(&output[..len]);
        self.link.export.server_wrote(len);
        self.pending.extend(cut(&mut self.at_server));
        true
    }

    fn server_replies(&mut self, choose: &mut impl Choose) -> bool {
        if self.pending.is_empty() {
            return false;
        }
        let request = self.pending.remove(choose.choose(self.pending.len()));
        let reply = made(kind(&request) + 1, tag(&request));
        let fid = u32_at(&request, HEADER.min(request.len() - 4));
        if [110, 116, 118].contains(&kind(&request)) {
            assert!(self.fids.contains(&fid), "an unknown fid at the server: {request:?}");
        }
        let reply = match kind(&request) {
            100 => rversion(MSIZE, "9P2000.L"),
            104 => {
                assert!(self.fids.insert(fid), "a fid in use at the server");
                reply.qid(0, 0).done()
            }
            108 => {
                self.pending.retain(|other| tag(other) != u16_at(&request, HEADER));
                reply.done()
            }
            110 => {
                assert!(self.fids.insert(u32_at(&request, HEADER + 4)), "a fid in use");
                rwalk(tag(&request), 0)
            }
            116 => {
                let count = u32_at(&request, HEADER + 12);
                reply.u32(count).raw(&vec![7; count as usize]).done()
            }
            118 => reply.u32(u32_at(&request, HEADER + 12)).done(),
            // The walk that should have made it was flushed.
            120 if !self.fids.remove(&fid) => made(7, tag(&request)).u32(9).done(),
            120 => reply.done(),
            other => panic!("type {other} at the server"),
        };
        self.link.export.server_bytes(&reply);
        true
    }

    fn audit(&mut self) {
        self.link.export.audit();
        self.post.audit();
    }

    fn check(&self, plan: &Plan) {
        assert_eq!(self.link.end_reason(), None);
        if plan.design == Design::Link {
            let cost = self.post.outstanding_cost();
            assert!(cost <= plan.window.max(2 * MSIZE as usize), "{cost} outstanding");
            assert!(self.link.refusals.iter().all(|refusal| refusal.1 == HEADER), "no refusal");
            let load = self.link.export.load(self.link.far);
            assert!(load.bytes <= plan.window + 64 * 1024 && load.requests <= 2 * MAX_REQUESTS);
        }
    }
}

fn script(plan: &Plan, choose: &mut impl Choose) -> VecDeque<Vec<u8>> {
    let mut script =
        VecDeque::from([version(MSIZE, "9P2000.L"), attach(Dialect::L, 0, 0, NOFID, "u", "a")]);
    for n in 0..plan.requests as u16 {
        let tag = n + 1;
        let count = plan.count as u32;
        script.push_back(match choose.choose(8) {
            _ if plan.only_reads => read(tag, 0, 0, count),
            0 if n > 0 => flush(tag, choose.choose(n as usize) as u16 + 1),
            1 => walk(tag, 0, 1000 + u32::from(n), &[]),
            2 | 3 => {
                let data = vec![3; choose.choose(plan.count + 1)];
                made(118, tag).u32(0).u64(0).u32(data.len() as u32).raw(&data).done()
            }
            _ => read(tag, 0, 0, 1 + choose.choose(plan.count) as u32),
        });
    }
    script
}

pub struct World {
    pub plan: Plan,
    ends: [End; 2],
    /// The bytes on the way from each end.
    pipes: [VecDeque<u8>; 2],
    /// Whether clients send no more than a version and an attach.
    only_begins: bool,
    pub steps: u64,
}

impl World {
    pub fn new(plan: Plan, choose: &mut impl Choose) -> World {
        let ends = [End::new(&plan, choose), End::new(&plan, choose)];
        let mut world =
            World { plan, ends, pipes: Default::default(), only_begins: true, steps: 0 };
        world.finish(choose);
        world.only_begins = false;
        world
    }

    /// Returns the number of different steps.
    pub fn kinds(&self) -> usize {
        2 * (4 + 2 * self.plan.clients)
    }

    /// Begins a turn of both ends. No time passes.
    pub fn tick(&mut self) {
        for end in &mut self.ends {
            end.post.tick(std::time::Duration::ZERO);
            end.link.tick(&mut end.post, std::time::Duration::ZERO);
        }
    }

    /// Takes a step. Returns false if it is not possible now.
    pub fn step(&mut self, step: usize, choose: &mut impl Choose) -> bool {
        let (e, step) = (step % 2, step / 2);
        let end = &mut self.ends[e];
        let moved = match step {
            0 => {
                let output = end.link.output(&end.post);
                let room = self.plan.pipe - self.pipes[e].len();
                let n = output.len().min(room);
                if n == 0 {
                    return false;
                }
                let n = 1 + choose.choose(n);
                self.pipes[e].extend(&output[..n]);
                end.link.stream_wrote(&mut end.post, n);
                true
            }
            1 => {
                let pipe = &mut self.pipes[1 - e];
                if pipe.is_empty() || !end.reads(&self.plan) {
                    return false;
                }
                let n = 1 + choose.choose(pipe.len());
                let bytes: Vec<u8> = pipe.drain(..n).collect();
                end.link.stream_bytes(&mut end.post, &bytes);
                true
            }
            2 => end.server_reads(choose),
            3 => end.server_replies(choose),
            n if n % 2 == 0 => {
                let client = &end.clients[(n - 4) / 2];
                let first = client.script.front().map(|message| kind(message));
                let begins = first.is_some_and(|kind| [100, 104].contains(&kind));
                if self.only_begins && !begins && client.sending.is_empty() {
                    return false;
                }
                end.client_sends((n - 4) / 2, choose)
            }
            n => end.client_reads((n - 5) / 2, choose),
        };
        if moved {
            self.steps += 1;
            end.check(&self.plan);
        }
        moved
    }

    /// The server of an end goes. It comes back when it is asked for.
    pub fn kill_server(&mut self, e: usize) {
        let end = &mut self.ends[e];
        end.pending.clear();
        end.at_server.clear();
        end.fids.clear();
        end.link.export.server_gone();
        end.link.export.take_lost_server();
        end.check(&self.plan);
    }

    /// The stream is cut, and there is another one.
    pub fn cut_stream(&mut self) {
        self.pipes.iter_mut().for_each(VecDeque::clear);
        for end in &mut self.ends {
            end.link.stream_gone(&mut end.post);
            end.link.await_stream();
            end.post.take_lost_server();
            end.link.restart(&end.config, std::time::Duration::ZERO);
            end.post.server_connected();
            end.check(&self.plan);
        }
    }

    /// A client of an end goes.
    pub fn drop_client(&mut self, e: usize, n: usize) {
        let end = &mut self.ends[e];
        let client = &mut end.clients[n];
        client.script.clear();
        client.sending.clear();
        client.asked.clear();
        end.post.client_gone(client.id);
        end.check(&self.plan);
    }

    pub fn audit(&mut self) {
        self.ends.iter_mut().for_each(End::audit);
    }

    /// Returns true if every request has its reply.
    pub fn is_done(&self) -> bool {
        self.ends.iter().all(|end| end.clients.iter().all(Client::is_done))
    }

    /// Takes steps until none is possible. Returns whether every request has its reply.
    pub fn finish(&mut self, choose: &mut impl Choose) -> bool {
        loop {
            self.tick();
            let first = choose.choose(self.kinds());
            let mut any = false;
            for n in 0..self.kinds() {
                any |= self.step((first + n) % self.kinds(), choose);
            }
            if !any {
                self.audit();
                return self.is_done();
            }
        }
    }
}
