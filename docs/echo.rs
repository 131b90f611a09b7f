// The server of this example is in memory. It returns each text that does not begin with "hush".
use std::io;
use std::sync::mpsc;

type Text = mux::Message<String>;

struct EchoSender(mpsc::Sender<Option<Text>>);

struct EchoReceiver(mpsc::Receiver<Option<Text>>);

impl mux::Sender for EchoSender {
    type Request = String;

    fn tags(&self) -> std::ops::Range<u32> { 0..256 }
    fn send(&mut self, request: Text) -> io::Result<()> {
        if request.body.starts_with("hush") { return Ok(()); }
        self.0.send(Some(request)).map_err(io::Error::other)
    }
}

impl mux::Receiver for EchoReceiver {
    type Reply = String;

    fn recv(&mut self) -> io::Result<Option<Text>> { self.0.recv().map_err(io::Error::other) }
}

impl mux::TryRecv for EchoReceiver {
    fn try_recv(&mut self) -> std::task::Poll<io::Result<Option<Text>>> {
        match self.0.try_recv() {
            Ok(message) => std::task::Poll::Ready(Ok(message)),
            Err(_) => std::task::Poll::Pending,
        }
    }
}

/// Returns a connection to the server. Hanging up ends it: `None` is the end.
fn echo() -> mux::Transport<EchoSender, EchoReceiver> {
    let (server, replies) = mpsc::channel();
    let end = server.clone();
    mux::Transport::new(EchoSender(server), EchoReceiver(replies))
        .try_recvs()
        .on_hang_up(move || drop(end.send(None)))
}
