//! Connections: so many at a time, and none that holds its place without asking anything.

use std::{
    future::Future as _,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    extract::{ConnectInfo, Request, connect_info::Connected},
    middleware::Next,
    response::Response,
    serve::{IncomingStream, Listener},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep, sleep_until},
};

/// Connections at a time; further ones wait until one ends.
pub const CONNECTIONS: usize = 64;
/// A connection on which no request is at work and nothing was sent for so long is closed.
pub const IDLE: Duration = Duration::from_secs(30);

/// What the server knows of a connection.
#[derive(Debug)]
pub struct Watch {
    /// Requests whose handlers run.
    running: AtomicUsize,
    /// When it last answered something.
    active: Mutex<Instant>,
    idle: Duration,
}

impl Watch {
    fn touch(&self) {
        *self.active.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// When it is closed; None while a handler runs.
    fn deadline(&self) -> Option<Instant> {
        let active = *self.active.lock().unwrap_or_else(PoisonError::into_inner);
        (self.running.load(Ordering::Relaxed) == 0).then_some(active + self.idle)
    }
}

/// A listener that takes so many connections at a time.
#[derive(Debug)]
pub struct Limited {
    listener: TcpListener,
    places: Arc<Semaphore>,
    idle: Duration,
}

impl Limited {
    /// Over a listener.
    pub fn new(listener: TcpListener, connections: usize, idle: Duration) -> Self {
        Self { listener, places: Arc::new(Semaphore::new(connections)), idle }
    }
}

impl Listener for Limited {
    type Io = Watched;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Watched, SocketAddr) {
        let place = loop {
            // The semaphore is never closed.
            if let Ok(place) = self.places.clone().acquire_owned().await {
                break place;
            }
        };
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let watch = Arc::new(Watch {
            running: AtomicUsize::new(0),
            active: Mutex::new(Instant::now()),
            idle: self.idle,
        });
        let alarm = Box::pin(sleep_until(Instant::now() + self.idle));
        (Watched { stream, watch, alarm, _place: place }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection with its place among the others.
#[derive(Debug)]
pub struct Watched {
    stream: TcpStream,
    watch: Arc<Watch>,
    alarm: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(result) = Pin::new(&mut self.stream).poll_read(cx, buf) {
            return Poll::Ready(result);
        }
        // Nothing to read: has it waited too long? While a handler runs it is looked at again later.
        loop {
            ready!(self.alarm.as_mut().poll(cx));
            let now = Instant::now();
            match self.watch.deadline() {
                Some(deadline) if deadline <= now => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "no request")));
                }
                deadline => {
                    let next = deadline.unwrap_or(now + self.watch.idle);
                    self.alarm.as_mut().reset(next);
                }
            }
        }
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        self.watch.touch();
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The connection of a request.
#[derive(Clone, Debug)]
pub struct Connection {
    watch: Arc<Watch>,
    peer: SocketAddr,
}

impl Connection {
    /// Who is at its other end.
    pub const fn peer(&self) -> SocketAddr {
        self.peer
    }
}

impl Connected<IncomingStream<'_, Limited>> for Connection {
    fn connect_info(stream: IncomingStream<'_, Limited>) -> Self {
        Self { watch: stream.io().watch.clone(), peer: *stream.remote_addr() }
    }
}

struct Running(Arc<Watch>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.touch();
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Keeps a connection open while a handler runs on it, however long that takes.
pub async fn mark_running(
    ConnectInfo(Connection { watch, .. }): ConnectInfo<Connection>,
    request: Request,
    next: Next,
) -> Response {
    watch.running.fetch_add(1, Ordering::Relaxed);
    let _running = Running(watch);
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        time::Instant as Wall,
    };

    use axum::{Router, middleware, routing::get};

    use super::*;

    const SHORT: Duration = Duration::from_millis(300);

    /// Serves with two places; the slow answer takes three times as long as a connection may be idle.
    async fn serve() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let slow = get(|| async {
            tokio::time::sleep(3 * SHORT).await;
            "slow"
        });
        let router = Router::new()
            .route("/", get(|| async { "quick" }))
            .route("/slow", slow)
            .layer(middleware::from_fn(mark_running));
        let service = router.into_make_service_with_connect_info::<Connection>();
        tokio::spawn(async move { axum::serve(Limited::new(listener, 2, SHORT), service).await });
        address
    }

    fn ask(address: SocketAddr, path: &str) -> String {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn idle_connections_make_room_and_slow_answers_come() {
        let address = serve().await;
        let tests = tokio::task::spawn_blocking(move || {
            // Two that hold both places: one says nothing, one drips a head without end.
            let silent = std::net::TcpStream::connect(address).unwrap();
            let mut dripping = std::net::TcpStream::connect(address).unwrap();
            let drip = std::thread::spawn(move || {
                let mut count = 0;
                let head = b"GET / HTTP/1.1\r\nX: ".iter().chain(std::iter::repeat(&b'x'));
                for byte in head.take(400) {
                    if dripping.write_all(&[*byte]).is_err() {
                        break;
                    }
                    count += 1;
                    std::thread::sleep(Duration::from_millis(20));
                }
                count
            });
            std::thread::sleep(Duration::from_millis(50));
            let start = Wall::now();
            assert!(ask(address, "/").ends_with("quick"));
            assert!(start.elapsed() > SHORT / 2, "there was no place before");
            assert!(ask(address, "/slow").ends_with("slow"), "a handler that works is no idle connection");
            assert!(drip.join().unwrap() < 400, "the dripping one was closed");
            drop(silent);
        });
        tests.await.unwrap();
    }
}
