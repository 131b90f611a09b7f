/*
 * mux.h: many callers, tagged requests and replies, one connection.  See mux(3).
 *
 * The interface of plan9port's libmux, to the byte: programs written for that compile, and their
 * objects link, against this.  Made from the library's source; do not edit.
 */
#ifndef _MUX_H_
#define _MUX_H_ 1


#include <pthread.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifdef AUTOLIB
AUTOLIB(mux)
#endif

/*
 * What plan9port's private fields take, so that a Mux has its size: three QLocks, two Rendez, and
 * the rest.  What is in it is the library's.
 */
typedef struct MuxPrivate {
	struct {
		int a;
		pthread_mutex_t b;
		int c;
		void *d[3];
	} lock[3];
	void *rendez[2][3];
	void *queue[2];
	unsigned int count[3];
	void *wait[2];
	struct {
		void *a[6];
		unsigned int b;
		void *c;
		int d[2];
	} sleep;
} MuxPrivate;

/*
 * nbrecv has two forms: that of plan9port's header, and, in a source that defines MUX_MAN3 before
 * it includes this, that of plan9port's manual page.  They may be linked into one program, each Mux
 * going by the source that calls muxinit on it.
 */
struct Mux;
#ifdef MUX_MAN3
typedef void *(*MuxNbrecv)(struct Mux *mux);
#else
typedef int (*MuxNbrecv)(struct Mux *mux, void **reply);
#endif

/*
 * A queue of pointers. Made by _muxqalloc, ended with free(3) when it is empty.
 */
typedef struct Muxqueue Muxqueue;

/*
 * A multiplexor on one connection.
 *
 * The caller owns it, usually inside a structure of its own, and fills the fields above private_
 * before the first call (before or after muxinit); the library reads them at each use, so they may
 * change between calls. It must not be moved or copied once muxinit has seen it. Any number of
 * threads may use it. The callbacks must not throw or longjmp out, nor call the library on the
 * same Mux.
 */
typedef struct Mux {
	/*
	 * The lowest valid tag.
	 */
	unsigned int mintag;
	/*
	 * One more than the highest valid tag.
	 */
	unsigned int maxtag;
	/*
	 * Sends a message that has its tag; less than 0 is a failure of that call alone. May block. One
	 * at a time is called.
	 */
	int (*send)(struct Mux *mux, void *request);
	/*
	 * Waits for a message; nil is the end of the connection. One at a time of recv and nbrecv is
	 * called.
	 */
	void *(*recv)(struct Mux *mux);
	/*
	 * Looks for a message without waiting: for muxrpccanfinish, for deadlines, and for a call that finds
	 * no tag free. May be nil, for programs without an event loop and without deadlines.
	 */
	MuxNbrecv nbrecv;
	/*
	 * The tag in a message. Any number at once are called.
	 */
	int (*gettag)(struct Mux *mux, void *reply);
	/*
	 * Puts a tag into a message; less than 0 is a failure of that call. Any number at once are
	 * called.
	 */
	int (*settag)(struct Mux *mux, void *request, unsigned int tag);
	/*
	 * The caller's own.
	 */
	void *aux;
	/*
	 * The library's own.
	 */
	MuxPrivate private_;
} Mux;

/*
 * A non-blocking call, from muxrpcstart until muxrpccanfinish answers 1. One thread's.
 */
typedef struct Muxrpc {
	/*
	 * Its Mux.
	 */
	struct Mux *mux;
	/*
	 * The library's own.
	 */
	struct Muxrpc *next;
	/*
	 * The library's own.
	 */
	struct Muxrpc *prev;
	/*
	 * The library's own.
	 */
	void *r[3];
	/*
	 * Its tag, which may be another call's by the time that the reply is there.
	 */
	unsigned int tag;
	/*
	 * The reply, once it is there; to look at, not to take: that is for muxrpccanfinish.
	 */
	void *p;
	/*
	 * Always 1.
	 */
	int waiting;
	/*
	 * Always 1.
	 */
	int async;
} Muxrpc;

/*
 * A program's own scheduler, for muxsetsched: how its tasks sleep and wake. The caller sets size to
 * sizeof(Muxsched). park, parkfor and task are called by the task that they are about, unpark by any.
 * task is called with a lock of the library's held: it may not switch tasks, and has no reason to. Nor may a
 * signal handler, while a task is inside the library: tasks switch in park, parkfor and the program's functions.
 */
typedef struct Muxsched {
	/*
	 * sizeof(Muxsched), set by the caller.
	 */
	unsigned int size;
	/*
	 * The calling task, as the others get it.
	 */
	void *(*task)(void);
	/*
	 * Sleeps the calling task until unpark is called for it; returns at once if that has happened since
	 * it last slept. Returning too early does no harm.
	 */
	void (*park)(void *task);
	/*
	 * Wakes a task, now or when it next sleeps. It may have gone on by itself just then, and even have
	 * ended: what task answered stays good for this call.
	 */
	void (*unpark)(void *task);
	/*
	 * Starts a task that runs body(arg); less than 0 when it can not. nil: muxprocs fails with ENOSYS.
	 */
	int (*start)(void (*body)(void*), void *arg);
	/*
	 * As park, but for ms milliseconds at most; what it answers is not looked at. nil: muxrpctimeout
	 * fails with EOPNOTSUPP.
	 */
	int (*parkfor)(void *task, int ms);
} Muxsched;

/*
 * How a Mux is doing. The caller sets size to the size of what it has room for.
 */
typedef struct Muxstats {
	/*
	 * sizeof(Muxstats), set by the caller.
	 */
	unsigned int size;
	/*
	 * Tags in use now, for calls and for replies to calls that were given up: cancelled, or too late.
	 */
	unsigned int outstanding;
	/*
	 * Most tags in use at once.
	 */
	unsigned int maxoutstanding;
	/*
	 * Not used.
	 */
	unsigned int unused;
	/*
	 * Calls begun.
	 */
	unsigned long calls;
	/*
	 * Messages that belonged to no call, or to one given up.
	 */
	unsigned long orphans;
	/*
	 * Times that the muxer's role went from one caller to another.
	 */
	unsigned long handovers;
	/*
	 * Calls that had to wait for a tag.
	 */
	unsigned long tagwaits;
	/*
	 * Calls begun that ended without a reply, other than by muxrpccancel.
	 */
	unsigned long errors;
} Muxstats;

/*
 * Makes mux ready for use. The fields above private_ may be filled before or after. A Mux on which
 * no call is outstanding and no proc runs may be initialised again: counters, the hang-up, and what
 * muxsetorphan and muxsetbatch have set begin anew. errno is EINVAL when mux is nil, and, elsewhere than on
 * 64-bit Linux, ENOMEM when there is no memory: calls then fail with EINVAL.
 */
void muxinit(struct Mux *mux);

/*
 * Sends request and waits for its reply, which it answers: the caller's from then on.
 *
 * The request stays the caller's, and is no longer used when muxrpc returns. While it waits, the
 * caller may find itself in recv, on behalf of all. When all tags are in use it waits for one.
 *
 * Answers nil on error. errno: ECONNRESET, the connection has ended; what send or settag has left
 * there (EIO if nothing), it has failed; EAGAIN, all tags are held for replies to calls given up;
 * ESHUTDOWN, muxhangup was called; ENOMEM, no memory for the call; EINVAL, a nil mux, request
 * or function, a Mux without muxinit, or maxtag not above mintag; EPERM, a thread that libthread
 * did not make, in a program of libthread's. Where the program has lib9, its error string says the
 * same, and errno is lib9's mark.
 */
void *muxrpc(struct Mux *mux, void *request);

/*
 * Sends request without waiting for its reply, and answers the call, to be given to
 * muxrpccanfinish until that answers 1.
 *
 * The request stays the caller's, and is no longer used when muxrpcstart returns. Answers nil on
 * error, errno as for muxrpc, and EAGAIN when all tags are in use.
 */
struct Muxrpc *muxrpcstart(struct Mux *mux, void *request);

/*
 * Whether the call rpc can finish. Answers 1 and stores its reply, which is the caller's from then
 * on; 1 and stores nil when there will be none; 0 and stores nil when it is still pending, which
 * includes that somebody else is receiving just now. When it answers 1, rpc is gone.
 *
 * Unless somebody receives already, takes what nbrecv has, for whatever calls it is. errno after 1
 * with nil: ECONNRESET, the connection has ended; EOPNOTSUPP, nobody receives, there are no procs
 * and no nbrecv, so it could never finish; EINVAL, rpc is nil. errno after 0 is of no account but for
 * EINVAL, reply is nil, and EPERM, as for muxrpc: the call goes on.
 */
int muxrpccanfinish(struct Muxrpc *rpc,
		    void **reply);

/*
 * Starts two procs, one in which recv runs and one in which send runs, until the connection ends;
 * then the Mux works as before. Does nothing when they run already. Under libthread they are its
 * procs, under muxsetsched its tasks; otherwise detached threads, which take no signals. If they can not
 * be started, errno says why, and the Mux works as before: ENOSYS, the program's scheduler has no start;
 * EAGAIN or ENOMEM, it can start no more, or the system can not; EINVAL and EPERM as for muxrpc. After
 * muxhangup they leave at once.
 */
void muxprocs(struct Mux *mux);

/*
 * Ends mux: as muxhangup, then waits until nobody is inside any more (callers, procs), and gives up all
 * memory. Calls that have not been collected are gone, the Muxrpcs too, and so is one that muxrpcstart
 * answers meanwhile; their replies are disposed of as orphans. Afterwards the Mux may be freed, or given to muxinit again.
 *
 * Whoever is inside send or recv, the procs too, must be on its way out: shut the connection down
 * before. It waits for three seconds at most; if somebody is still inside then, it gives up nothing,
 * sets errno to EBUSY, and may be called again. EBUSY comes at once where it can not wait (the program's
 * scheduler has no parkfor, libthread could start no proc for the clock) and while another muxfree waits.
 * No call may begin while it runs, or after it. errno also: EINVAL, mux is nil, or not one that muxinit
 * has seen; EPERM, as for muxrpc.
 */
void muxfree(struct Mux *mux);

/*
 * As muxrpc, but waits for ms milliseconds at most: nil with ETIMEDOUT then. Less than 0 is for ever; with
 * 0 nothing is sent.
 * The tag stays out of use until the reply comes, which is an orphan then, or the connection ends;
 * while all tags are so held, calls fail with EAGAIN.
 *
 * How soon it answers: at once when the time has come, with procs, or while another caller receives. A
 * caller that finds itself receiving for all looks for messages by nbrecv and sleeps in between, for 5
 * milliseconds at most. Without nbrecv it is in recv, and answers when the next message comes, whosever
 * that is; callers of muxrpc go before it there. And it does not answer while its request is in send.
 *
 * errno also: EOPNOTSUPP, the program's scheduler has no parkfor; EAGAIN, libthread could start no proc
 * for the clock.
 */
void *muxrpctimeout(struct Mux *mux,
		    void *request,
		    int ms);

/*
 * Has several messages sent or received at a time: by sendv rather than send, by recvv rather than recv.
 * Either may be nil; both are looked at for each use. send and recv are needed all the same.
 *
 * sendv gets the requests that are to go out now, in order, 16 at most: the caller's own and those that
 * have queued up meanwhile. It answers how many it has sent, from the first on; it is called again for
 * the others. Less than 1 is a failure of the first alone, errno as for send. recvv waits for a message,
 * stores what there is, no more than max, and answers how many; less than 1 is the end of the connection.
 * Answers that are too large count as the largest allowed. A nil among the messages is passed over; nothing
 * but that is the end of the connection too. A message by hand is received by recv, and nbrecv is called as
 * ever.
 *
 * errno is EINVAL when mux is nil, ENOMEM when there is no memory for the functions.
 */
void muxsetbatch(struct Mux *mux,
		 int (*sendv)(struct Mux *mux, void **request, int n),
		 int (*recvv)(struct Mux *mux, void **reply, int max));

/*
 * Has the program's own scheduler, rather than the system's threads or libthread, sleep and wake the
 * callers of every Mux. To be called once, before the first muxinit; the table is copied. Answers 0, or -1
 * on error, errno: EINVAL, sched is nil, its size is too small or task, park or unpark is nil; EBUSY,
 * it comes too late; ENOMEM.
 */
int muxsetsched(struct Muxsched *sched);

/*
 * Fails all outstanding calls now (ECONNRESET) and all later ones (ESHUTDOWN), from any thread,
 * until muxinit is called again. Whoever is inside send or recv, the procs too, learns of it when
 * that returns: shut the connection down as well. errno is EINVAL when mux is nil, or not one that muxinit
 * has seen, and EPERM as for muxrpc.
 */
void muxhangup(struct Mux *mux);

/*
 * Gives a non-blocking call up: rpc is gone. Its tag stays out of use until its reply comes, which is
 * an orphan then, or the connection ends; while all tags are so held, calls fail with EAGAIN. A reply
 * that is there already is disposed of as an orphan. errno is EINVAL when rpc is nil, and EPERM as for
 * muxrpc: the call goes on.
 */
void muxrpccancel(struct Muxrpc *rpc);

/*
 * Has orphans given to f, which disposes of them: messages that belong to no call, and replies to calls
 * that were given up. nil leaks them, as at first. f is called with no lock held, by whoever receives, by
 * muxrpccancel and muxfree, and by any number at once. errno is EINVAL when mux is nil, ENOMEM when there is no memory for f.
 */
void muxsetorphan(struct Mux *mux,
		  void (*f)(struct Mux *mux, void *reply));

/*
 * A descriptor that select and poll find readable while some non-blocking call can finish: for event
 * loops under muxprocs, or where other threads receive (nobody receives for the descriptor's sake).
 * It is made on first use, always the same, and the library's: neither read nor close it. -1 on
 * error, errno as eventfd(2), and EINVAL when mux is nil, or not one that muxinit has seen.
 */
int muxpollfd(struct Mux *mux);

/*
 * Stores in stats how mux is doing, as much as stats->size has room for. EINVAL when mux or stats is
 * nil, or has no room for its first field.
 */
void muxstats(struct Mux *mux,
	      struct Muxstats *stats);

/*
 * The library's version, as "1.0.0".
 */
const char *muxversion(void);

/*
 * muxinit for a source that defines MUX_MAN3: nbrecv answers the message, or nil when there is
 * none.
 */
void _mux3init(struct Mux *mux);

/*
 * muxrpccanfinish for a source that defines MUX_MAN3. Answers the reply of rpc, which is the
 * caller's from then on, and rpc is gone; or nil.
 *
 * errno after nil: EAGAIN, it is still pending; otherwise there will be no reply, for the reasons
 * that muxrpccanfinish gives. rpc is not gone then, so that a program that goes by nil alone may
 * ask again, and gets the same answer.
 */
void *_mux3rpccanfinish(struct Muxrpc *rpc);

/*
 * Sends request as it is, in turn with the calls. Answers 0, or -1 on error, errno as for muxrpc.
 */
int _muxsend(struct Mux *mux, void *request);

/*
 * Receives one message by hand, whosever it is: waiting for it (canblock), or looking with nbrecv.
 * Answers 1 and stores it; 1 and stores nil on error (ECONNRESET, the connection has ended; EBUSY,
 * the procs have it; EOPNOTSUPP, no nbrecv); 0 and stores nil when there is none yet.
 */
int _muxrecv(struct Mux *mux, int canblock, void **reply);

/*
 * The send proc of muxprocs, for a program that starts it itself: sends for all until the
 * connection ends.
 */
void _muxsendproc(void *mux);

/*
 * The receive proc of muxprocs, for a program that starts it itself: receives for all until the
 * connection ends.
 */
void _muxrecvproc(void *mux);

/*
 * Makes a queue; nil and ENOMEM when there is no memory. free(3) ends it.
 */
struct Muxqueue *_muxqalloc(void);

/*
 * Puts p at the end of the queue. Answers 0, or -1 when the queue is hung up (ECONNRESET) or there
 * is no memory (ENOMEM).
 */
int _muxqsend(struct Muxqueue *q, void *p);

/*
 * Takes the first of the queue, waiting for one; nil when the queue is hung up and empty.
 */
void *_muxqrecv(struct Muxqueue *q);

/*
 * Takes the first of the queue, if there is one: answers 1 and stores it. Without one it stores
 * nil, and answers 1 when the queue is hung up, else 0.
 */
int _muxnbqrecv(struct Muxqueue *q, void **p);

/*
 * Hangs the queue up: nothing more goes in, and those who wait for an item get nil.
 */
void _muxqhangup(struct Muxqueue *q);

#ifdef MUX_MAN3
#define muxinit _mux3init
#define muxrpccanfinish _mux3rpccanfinish
#define muxthreads muxprocs
#endif

#ifdef __cplusplus
}
#endif

#endif
