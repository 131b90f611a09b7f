/*
 * mux.h: many callers, tagged requests and replies, one connection.  See mux(3).
 *
 * The interface of plan9port's libmux, with the same names and layouts: programs and object files made for
 * that library work with this one.  The functions that plan9port does not have come after muxprocs.
 *
 * Generated from the library's source (make header).  Do not edit.
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
 * The private part of a Mux, which belongs to the library.  It has the size and the alignment of
 * plan9port's private fields: three QLocks, two Rendez, and others.
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
 * The type of nbrecv, which receives a message without blocking.  There are two forms.
 *
 * In the form of plan9port's header, it returns 0 if no complete message has arrived.  Otherwise it
 * returns 1 and stores the message in *reply, or NULL at the end of the connection.
 *
 * In the form of plan9port's manual page, it returns the message, or NULL if no complete message has
 * arrived.  A source file selects this form by defining MUX_MAN3 before it includes this header.
 *
 * Both forms may be linked into one program.  A Mux has the form of the source file that calls
 * muxinit on it.
 */
struct Mux;
#ifdef MUX_MAN3
typedef void *(*MuxNbrecv)(struct Mux *mux);
#else
typedef int (*MuxNbrecv)(struct Mux *mux, void **reply);
#endif

/*
 * A queue of pointers. _muxqalloc allocates it, and the program frees it with free(3) when it
 * is empty. Any number of threads may use it at once.
 */
typedef struct Muxqueue Muxqueue;

/*
 * A multiplexor: many callers share one connection.
 *
 * The program allocates a Mux, often inside a structure of its own, sets the fields above
 * private_, and calls muxinit. The fields may be set before or after muxinit. The library
 * reads a field each time that it needs it, so the program may change a field between calls.
 *
 * Lifetime: a Mux must not be moved or copied after muxinit, and must stay valid until muxfree
 * has succeeded, or until no call is outstanding and no proc runs.
 *
 * Threads: every function of the library may be called on the same Mux by any number of
 * threads at once, except muxinit and muxfree. Threads must be created by pthread_create: a
 * thread created by clone(2) does not clear glibc's __libc_single_threaded, on which the lock
 * of a Mux relies, and callers may then hang.
 *
 * Callbacks: the functions below are called without any lock held. They must return normally:
 * they must not throw an exception or call longjmp. A C++ exception that leaves a callback is
 * undefined behaviour and leaves the other callers waiting. They must not call the library on
 * the same Mux.
 *
 * Internal errors: a build with panic = "unwind" sets errno to EFAULT after a Rust panic in
 * the library. A build with panic = "abort", as made by make, cannot do so: a panic would end
 * the program. On x86-64 Linux such a build contains no code that can panic.
 */
typedef struct Mux {
	/*
	 * The lowest valid tag.
	 */
	unsigned int mintag;
	/*
	 * The highest valid tag plus 1.
	 */
	unsigned int maxtag;
	/*
	 * Sends a request, which has its tag. May block. A negative return value fails this call
	 * only. At most one call of send (or sendv) runs at a time.
	 */
	int (*send)(struct Mux *mux, void *request);
	/*
	 * Waits for the next message and returns it. Returns NULL at the end of the connection. At
	 * most one call of recv, nbrecv or recvv runs at a time.
	 */
	void *(*recv)(struct Mux *mux);
	/*
	 * As recv, but must not block. Called by muxrpccanfinish; for a caller with a deadline
	 * that is the muxer; and for a new call that finds no free tag. May be NULL in a program
	 * without non-blocking calls and deadlines.
	 */
	MuxNbrecv nbrecv;
	/*
	 * Returns the tag of a message. Several threads may call it at once.
	 */
	int (*gettag)(struct Mux *mux, void *reply);
	/*
	 * Stores a tag in a request. A negative return value fails this call only. Several threads
	 * may call it at once.
	 */
	int (*settag)(struct Mux *mux, void *request, unsigned int tag);
	/*
	 * Belongs to the program. The library does not use it.
	 */
	void *aux;
	/*
	 * Belongs to the library.
	 */
	MuxPrivate private_;
} Mux;

/*
 * A non-blocking call.
 *
 * Ownership: muxrpcstart returns it. It is valid until muxrpccanfinish returns 1, or until
 * muxrpccancel or muxfree frees it. The program must not free it.
 *
 * Threads: a Muxrpc may be used by one thread at a time.
 */
typedef struct Muxrpc {
	/*
	 * The Mux of the call.
	 */
	struct Mux *mux;
	/*
	 * Belongs to the library.
	 */
	struct Muxrpc *next;
	/*
	 * Belongs to the library.
	 */
	struct Muxrpc *prev;
	/*
	 * Belongs to the library.
	 */
	void *r[3];
	/*
	 * The tag of the call. Once the reply has arrived, the tag may belong to another call.
	 */
	unsigned int tag;
	/*
	 * Not NULL once the reply has arrived. The program may test it, and must obtain the reply
	 * from muxrpccanfinish.
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
 * A scheduler of the program, for muxsetsched: functions by which its tasks sleep and wake.
 *
 * Lifetime: muxsetsched copies the table. The functions must stay valid until the program
 * ends.
 *
 * Threads: park, parkfor and task are called on the calling task only; unpark may be called
 * from any task. task is called with a lock of the library held, and must not switch tasks.
 * While a task is inside the library, tasks must be switched only in park, parkfor and the
 * callbacks of a Mux; in particular, a signal handler must not switch tasks.
 */
typedef struct Muxsched {
	/*
	 * sizeof(Muxsched), set by the program.
	 */
	unsigned int size;
	/*
	 * Returns the calling task, in the form in which the other functions receive it.
	 */
	void *(*task)(void);
	/*
	 * Puts the calling task to sleep until unpark is called for it. Returns at once if unpark
	 * has been called since the task last slept. May return early.
	 */
	void (*park)(void *task);
	/*
	 * Wakes a task, now or when it next sleeps. The task may have resumed by itself, and may
	 * even have ended: what task has returned must stay valid for this call.
	 */
	void (*unpark)(void *task);
	/*
	 * Starts a task that calls body(arg). Returns a negative value if it cannot. If start is
	 * NULL, muxprocs fails with ENOSYS.
	 */
	int (*start)(void (*body)(void*), void *arg);
	/*
	 * As park, but sleeps for at most ms milliseconds. The return value is ignored. If parkfor
	 * is NULL, muxrpctimeout fails with EOPNOTSUPP.
	 */
	int (*parkfor)(void *task, int ms);
} Muxsched;

/*
 * Counters of a Mux, for muxstats. It belongs to the caller, which must set size. Later versions
 * may add fields at the end.
 */
typedef struct Muxstats {
	/*
	 * sizeof(Muxstats), set by the caller.
	 */
	unsigned int size;
	/*
	 * Tags in use now, by calls and by abandoned calls.
	 */
	unsigned int outstanding;
	/*
	 * Highest number of tags in use at once.
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
	 * Messages received that belonged to no call, or to an abandoned call.
	 */
	unsigned long orphans;
	/*
	 * Number of times that the role of the muxer passed from one caller to another.
	 */
	unsigned long handovers;
	/*
	 * Calls that had to wait for a tag.
	 */
	unsigned long tagwaits;
	/*
	 * Calls begun that ended without a reply, except those ended by muxrpccancel.
	 */
	unsigned long errors;
} Muxstats;

/*
 * Initialises the private part of mux, whatever it contains, and leaves the other fields
 * unchanged.
 *
 * Must not be called while a call is outstanding on mux or a proc runs. A second muxinit
 * resets the counters, the hang-up, and the functions set by muxsetorphan and muxsetbatch.
 * Unless muxfree was called before, the memory that the Mux had allocated is leaked.
 *
 * errno on failure:
 * - EINVAL: mux is NULL.
 * - ENOMEM: no memory, which cannot happen on 64-bit Linux. Calls then fail with EINVAL.
 */
void muxinit(struct Mux *mux);

/*
 * Sends request and waits for its reply.
 *
 * If all tags are in use, it first waits for a free tag. If no other thread receives, the
 * caller receives messages for all callers until its own reply arrives.
 *
 * Returns the reply, which then belongs to the caller. Returns NULL on error and sets errno.
 * The request remains the caller's, and the library does not use it after muxrpc has returned.
 * May be called by any number of threads at once.
 *
 * errno on failure:
 * - ECONNRESET: the connection has ended.
 * - ESHUTDOWN: muxhangup has been called.
 * - EAGAIN: every tag belongs to an abandoned call.
 * - ENOMEM: no memory for the call.
 * - EINVAL: mux or request is NULL, send, recv, settag or gettag is NULL, muxinit has not been
 *   called, or maxtag is not greater than mintag.
 * - EPERM: the program uses libthread, and the calling thread was not created by it.
 * - the value that send or settag has left in errno, or EIO if it has left none: the callback
 *   has returned a negative value.
 *
 * In a program with lib9, the error string describes the failure, and errno has the value by
 * which lib9 marks that.
 */
void *muxrpc(struct Mux *mux, void *request);

/*
 * Sends request without waiting for its reply.
 *
 * Returns when the request has been sent, so it may block as long as send does. Returns a
 * Muxrpc, which must be passed to muxrpccanfinish until that returns 1, or to muxrpccancel.
 * Returns NULL on error and sets errno. The request remains the caller's, and the library does
 * not use it after muxrpcstart has returned. May be called by any number of threads at once.
 *
 * errno on failure: as for muxrpc, and EAGAIN if all tags are in use.
 */
struct Muxrpc *muxrpcstart(struct Mux *mux, void *request);

/*
 * Collects the result of a non-blocking call, without waiting.
 *
 * Returns 1 and stores the reply in *reply if it has arrived; the reply then belongs to the
 * caller. Returns 1 and stores NULL if there will be no reply, and sets errno. Returns 0 and
 * stores NULL if the call is still pending. When it returns 1, it has freed rpc, which must
 * not be used again.
 *
 * If no other thread is receiving, it calls nbrecv until this reply has arrived or no message
 * is available, and delivers each message to the call to which it belongs. rpc may be used by
 * one thread at a time.
 *
 * errno after 1 with NULL:
 * - ECONNRESET: the connection has ended.
 * - EOPNOTSUPP: there is no nbrecv, and no thread or proc receives, so that the call could
 *   never finish.
 * - EINVAL: rpc is NULL.
 *
 * errno after 0, when rpc has not been examined and the call continues:
 * - EINVAL: reply is NULL.
 * - EPERM: as for muxrpc.
 *
 * Any other value of errno after 0 has no meaning.
 */
int muxrpccanfinish(struct Muxrpc *rpc, void **reply);

/*
 * Starts two procs: one calls recv for all callers, the other one calls send.
 *
 * The procs end when the connection ends, and at once after muxhangup. The Mux then works as
 * if muxprocs had not been called. If both procs are running, muxprocs does nothing. The procs
 * are threads of libthread in a program of libthread, tasks of the program's scheduler after
 * muxsetsched, and otherwise detached POSIX threads that block all signals except the signals that a
 * fault raises. The Mux must stay valid until both procs have ended: muxfree waits for them.
 *
 * errno on failure, after which the Mux is unchanged:
 * - ENOSYS: the program's scheduler has no start.
 * - EAGAIN or ENOMEM: the system or the scheduler cannot start another thread.
 * - EINVAL and EPERM: as for muxrpc.
 */
void muxprocs(struct Mux *mux);

/*
 * As muxrpc, but waits for at most ms milliseconds. A negative ms means no limit. If ms is 0,
 * nothing is sent.
 *
 * A call is abandoned if its request has been sent when its deadline passes: its tag stays out
 * of use until the reply arrives, which is then an orphan, or until the connection ends.
 *
 * When the deadline has passed, muxrpctimeout returns
 * - at once, if a proc or another thread receives, or if the caller waits for a tag or for its
 *   turn to send;
 * - at once, if the caller is the muxer and there is an nbrecv; the caller then polls, and
 *   sleeps for at most 5 milliseconds between two polls;
 * - after the next message, if the caller is the muxer without an nbrecv, which happens only
 *   if no proc and no caller of muxrpc can receive instead;
 * - after send has returned, if the request is being sent.
 *
 * errno on failure: as for muxrpc, and
 * - ETIMEDOUT: the deadline has passed.
 * - EOPNOTSUPP: the program's scheduler has no parkfor.
 * - EAGAIN: every tag belongs to an abandoned call, or libthread cannot start the proc that
 *   keeps the time.
 */
void *muxrpctimeout(struct Mux *mux, void *request, int ms);

/*
 * Abandons a non-blocking call and frees rpc, which must not be used again.
 *
 * The server is not informed. The tag stays out of use until the reply arrives, which is then
 * an orphan, or until the connection ends. While every tag belongs to an abandoned call, calls
 * fail with EAGAIN. A reply that has already arrived is treated as an orphan at once. rpc may
 * be used by one thread at a time.
 *
 * errno on failure:
 * - EINVAL: rpc is NULL.
 * - EPERM: as for muxrpc; the call continues, and rpc has not been freed.
 */
void muxrpccancel(struct Muxrpc *rpc);

/*
 * Fails all outstanding calls now, with ECONNRESET, and all later calls, with ESHUTDOWN, until
 * muxinit is called again.
 *
 * A thread or proc that is inside send or recv is not interrupted, and leaves when that
 * function returns. The program should therefore also shut down the connection, for example
 * with shutdown(2). May be called by any thread at any time.
 *
 * errno on failure:
 * - EINVAL: mux is NULL, or muxinit has not been called.
 * - EPERM: as for muxrpc.
 */
void muxhangup(struct Mux *mux);

/*
 * Hangs up as muxhangup, waits until no caller and no proc is inside the library, and frees
 * all memory of the Mux and the descriptor of muxpollfd.
 *
 * Before muxfree, the program must shut down the connection, so that threads and procs return
 * from send and recv. No call may begin while muxfree runs, or after it. Frees every Muxrpc
 * that has not been collected with muxrpccanfinish, including one returned by a muxrpcstart
 * that runs concurrently; replies that have not been collected become orphans. Afterwards the
 * memory of mux may be freed, or initialised again by muxinit.
 *
 * Waits for at most three seconds. If muxfree fails, nothing has been freed except that mux is
 * hung up, and muxfree may be called again.
 *
 * errno on failure:
 * - EBUSY: a caller or proc is still inside the library; muxfree cannot wait, because the
 *   program's scheduler has no parkfor or libthread cannot start a proc; or another muxfree is
 *   waiting.
 * - EINVAL: mux is NULL, or muxinit has not been called.
 * - EPERM: as for muxrpc.
 */
void muxfree(struct Mux *mux);

/*
 * Makes the library call f with each orphan: a message that belongs to no outstanding call, or
 * the reply to an abandoned call. f then owns the message.
 *
 * If f is NULL, which is the initial state, orphans are leaked. f is called without any lock
 * held, by the thread or proc that has received the message, by muxrpccancel and by muxfree,
 * and by several threads at once. It must not call the library on the same Mux.
 *
 * errno on failure:
 * - EINVAL: mux is NULL, or muxinit has not been called.
 * - ENOMEM: no memory to store f.
 */
void muxsetorphan(struct Mux *mux, void (*f)(struct Mux *mux, void *reply));

/*
 * Makes the library send several messages at once by sendv instead of send, and receive
 * several messages at once by recvv instead of recv. Either function may be NULL, which is the
 * initial state of both. send and recv must be set nevertheless. nbrecv is called as before.
 *
 * sendv is called with n requests in order, at most 16: the request that has the turn to be
 * sent, and the requests queued behind it. It returns the number of requests that it has
 * sent, counted from the first one. The others are passed to it again. If it returns a value
 * less than 1, the first request fails with errno as for send, and the others are passed to it
 * again.
 *
 * recvv waits for a message, stores it and the other messages that are available, at most max,
 * and returns their number. A value less than 1 is the end of the connection. NULL entries are
 * skipped; a batch of nothing else is the end of the connection. A value greater than n or max
 * is treated as n or max.
 *
 * errno on failure:
 * - EINVAL: mux is NULL, or muxinit has not been called.
 * - ENOMEM: no memory to store the functions.
 */
void muxsetbatch(struct Mux *mux,
		 int (*sendv)(struct Mux *mux, void **request, int n),
		 int (*recvv)(struct Mux *mux, void **reply, int max));

/*
 * Installs a scheduler of the program, by which the callers of every Mux sleep and wake,
 * instead of the threads of the system or of libthread.
 *
 * Must be called at most once, before the first muxinit. The table is copied. Returns 0.
 * Returns -1 on error and sets errno.
 *
 * errno on failure:
 * - EINVAL: sched is NULL, its size is too small, or task, park or unpark is NULL.
 * - EBUSY: muxinit or muxsetsched has been called before.
 * - ENOMEM: no memory for the copy.
 */
int muxsetsched(struct Muxsched *sched);

/*
 * Returns a file descriptor that poll(2) and select(2) report as readable while some
 * non-blocking call can finish.
 *
 * It is for event loops in programs that use muxprocs or in which other threads receive; the
 * descriptor does not make the library receive. It is created by the first call and belongs to
 * the library until muxfree: the program must not read or close it. May be called by any
 * thread. Returns -1 on error and sets errno.
 *
 * errno on failure:
 * - EINVAL: mux is NULL, or muxinit has not been called.
 * - the errors of eventfd(2), or of pipe(2) on systems without it.
 */
int muxpollfd(struct Mux *mux);

/*
 * Stores the counters of mux in stats.
 *
 * The caller must set stats->size; at most that many bytes are stored. May be called by any
 * thread.
 *
 * errno on failure:
 * - EINVAL: mux or stats is NULL, muxinit has not been called, or stats->size is too small for
 *   the first field.
 */
void muxstats(struct Mux *mux, struct Muxstats *stats);

/*
 * Returns the version of the library, for example "1.0.0". The string is constant.
 */
const char *muxversion(void);

/*
 * muxinit for a source that defines MUX_MAN3, in which nbrecv returns the message, or NULL if
 * no complete message has arrived.
 */
void _mux3init(struct Mux *mux);

/*
 * muxrpccanfinish for a source that defines MUX_MAN3.
 *
 * Returns the reply of rpc, which then belongs to the caller, and frees rpc. Returns NULL if
 * there is no reply, sets errno, and does not free rpc. The program may call it again, and
 * should free rpc with muxrpccancel.
 *
 * errno after NULL:
 * - EAGAIN: the call is still pending.
 * - any other value: there will be no reply, for the reasons given at muxrpccanfinish.
 */
void *_mux3rpccanfinish(struct Muxrpc *rpc);

/*
 * Sends a message that is not a call, unchanged, when it is its turn. Returns 0. Returns -1 on
 * error and sets errno as muxrpc does.
 */
int _muxsend(struct Mux *mux, void *request);

/*
 * Receives one message, whichever call it belongs to: by recv if canblock is not 0, otherwise
 * by nbrecv.
 *
 * Returns 1 and stores the message. Returns 1, stores NULL and sets errno on error. Returns 0
 * and stores NULL if no message has arrived.
 *
 * errno after 1 with NULL:
 * - ECONNRESET: the connection has ended.
 * - EBUSY: the receive proc receives all messages.
 * - EOPNOTSUPP: canblock is 0 and there is no nbrecv.
 * - EINVAL, ENOMEM and EPERM: as for muxrpc.
 */
int _muxrecv(struct Mux *mux, int canblock, void **reply);

/*
 * The send proc of muxprocs, for a program that starts it itself. Sends for all callers until
 * the connection ends.
 */
void _muxsendproc(void *mux);

/*
 * The receive proc of muxprocs, for a program that starts it itself. Receives for all callers
 * until the connection ends.
 */
void _muxrecvproc(void *mux);

/*
 * Allocates a queue. Returns NULL and sets errno to ENOMEM if there is no memory. The program
 * must free the queue with free(3).
 */
struct Muxqueue *_muxqalloc(void);

/*
 * Appends p to the queue. Returns 0. Returns -1 on error and sets errno: ECONNRESET if the
 * queue has been hung up, ENOMEM if there is no memory, EINVAL if q is NULL.
 */
int _muxqsend(struct Muxqueue *q, void *p);

/*
 * Removes the first item of the queue and returns it, after waiting for one if necessary.
 * Returns NULL if the queue has been hung up and is empty.
 */
void *_muxqrecv(struct Muxqueue *q);

/*
 * Removes the first item of the queue without waiting. Returns 1 and stores the item if there
 * is one. Otherwise stores NULL, and returns 1 if the queue has been hung up, 0 if not.
 */
int _muxnbqrecv(struct Muxqueue *q, void **p);

/*
 * Hangs up the queue: no item can be appended any more, and threads that wait for an item
 * receive NULL.
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
