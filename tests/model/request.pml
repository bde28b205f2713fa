/* request.pml - a stream's request: its end against aio_cancel() and the reuse of its memory.
 * shim/lanes/kernel.c, core/cancel.c, core/finish.c, request/request.c.
 *
 * Two threads make a request each, as a POLL iocb, and when it has ended another under the same
 * aiocb; a third cancels, any of them at any time. The kernel takes an iocb or refuses it; a poll ends when
 * the stream is ready, which may be never, or when io_cancel() finds it. There are two requests in
 * the pool and a SIGEV_THREAD for one aiocb. When nothing can happen any more all must be free.
 *
 * BREAK: one thing is left out, and the model must fail; model.sh has the list. */
#define NOTHING 0
#define CANCEL_AGAIN 1 /* kaio_kernel_submit() repeats an io_cancel() that came too early */
#define CANCEL_DONE  2 /* and is_cancelled() knows a DONE request */
#define ZOMBIES      3 /* kaio_req_free() keeps what is in the kernel */
#define REFUSED      4 /* refused() ends nothing that has been cancelled */
#define FIND         5 /* kaio_req_find() compares the aiocb */
#define MARK_FIRST   6 /* enqueue() says in_kernel before io_submit() */
#ifndef BREAK
#define BREAK NOTHING
#endif
#define NONE 9

mtype = { FREE, OFFERED, POLLING, DONE, ZOMBIE };

mtype state[2] = FREE;
byte cb[2] = NONE;   /* req->cb */
bit in_kernel[2];    /* req->in_kernel */
byte index[2];       /* by aiocb: __abs_prio */
bit in_progress[2];  /* by aiocb: EINPROGRESS */
byte polls[2];       /* by request: iocbs of it that the kernel has, */
byte events[2];      /* and events of it in the ring */
bit starting[2];     /* by request: its SIGEV_THREAD */
bit locked;

inline lock() { !locked -> locked = 1 }
inline unlock() { locked = 0 }

/* publish(): once, and only while the aiocb is the library's */
inline publish(r) {
    assert(cb[r] != NONE && in_progress[cb[r]]);
    in_progress[cb[r]] = 0
}

/* kaio_req_free() */
inline free(r) {
    assert(state[r] != FREE);
    cb[r] = NONE;
    if
    :: in_kernel[r] && BREAK != ZOMBIES -> state[r] = ZOMBIE
    :: else -> state[r] = FREE
    fi
}

/* kaio_complete(), kaio_leave()'s notify(): aiocb 1 has a SIGEV_THREAD, started without the lock;
 * meanwhile the program may use the aiocb again */
inline complete(r) {
    state[r] = DONE;
    if
    :: cb[r] == 1 -> publish(r); starting[r] = 1; unlock(); !starting[r]; lock()
    :: else -> publish(r)
    fi;
    assert(state[r] == DONE);
    free(r)
}

/* kaio_kernel_unpoll(): nothing, if io_submit() has not been there yet */
inline unpoll(r) {
    if
    :: polls[r] -> polls[r]--; events[r]++
    :: else
    fi
}

/* kaio_kernel_reap(), event(): the stream is ready, and the offer takes its data */
inline reap(r) {
    if
    :: events[r] ->
        events[r]--;
        assert(state[r] != FREE && in_kernel[r]); /* it is of this request, not of one before */
        in_kernel[r] = 0;
        if
        :: state[r] == POLLING -> complete(r)
        :: state[r] == ZOMBIE -> free(r)
        :: else
        fi
    :: else
    fi
}

#define CANCELLED(r) (in_kernel[r] && (state[r] == ZOMBIE || (state[r] == DONE && BREAK != CANCEL_DONE)))

proctype program(byte me) {
    byte rounds = 2, r;
    bit cancelled;
end: /* its stream may never be ready */
    do
    :: rounds && !in_progress[me] && (state[0] == FREE || state[1] == FREE) ->
        rounds--;
        atomic { /* kaio_req_get(), kaio_kernel_poll() */
            lock();
            if
            :: state[0] == FREE -> r = 0
            :: state[0] != FREE && state[1] == FREE -> r = 1
            :: else -> unlock(); rounds++; goto again
            fi;
            cb[r] = me;
            index[me] = r;
            in_progress[me] = 1;
            in_kernel[r] = BREAK != MARK_FIRST;
            state[r] = POLLING; /* kaio_kernel_submit() */
            unlock()
        }
        if
        :: atomic { polls[r]++; assert(polls[r] + events[r] == 1) } /* io_submit() takes it */
            atomic {
                lock();
                if
                :: BREAK == MARK_FIRST -> in_kernel[r] = 1
                :: CANCELLED(r) && BREAK != CANCEL_AGAIN && BREAK != MARK_FIRST -> unpoll(r)
                :: else
                fi;
                unlock()
            }
        :: atomic { /* refused() */
                lock();
                cancelled = CANCELLED(r) && BREAK != REFUSED;
                in_kernel[r] = 0;
                if
                :: state[r] == ZOMBIE && BREAK != REFUSED -> free(r)
                :: else
                fi;
                if
                :: !cancelled -> complete(r)
                :: else -> cancelled = 0
                fi;
                unlock()
            }
        fi;
again:  r = 0
    :: rounds == 0 -> break
    od
}

/* kaio_cancel(), cancel_one() */
proctype canceller() {
    byte calls = 3, a, r;
    do
    :: calls ->
        calls--;
        if
        :: a = 0
        :: a = 1
        fi;
        atomic {
            lock();
            r = index[a];
            if
            :: r < 2 && (cb[r] == a || BREAK == FIND) && state[r] == POLLING ->
                assert(cb[r] == a);
                unpoll(r);
                complete(r)
            :: else
            fi;
            unlock();
            r = 0
        }
    :: calls == 0 -> break
    od
}

active proctype starter() {
end:
    do
    :: starting[0] -> starting[0] = 0
    :: starting[1] -> starting[1] = 0
    od
}

/* Any thread that enters, as long as there are events. */
active proctype reaper() {
end:
    do
    :: atomic { events[0] -> lock(); reap(0); unlock() }
    :: atomic { events[1] -> lock(); reap(1); unlock() }
    od
}

/* The streams become ready, or never do. What aio_cancel() was told is cancelled must not stay:
 * a poll in the kernel keeps the file open. */
active proctype kernel() {
end:
    do
    :: atomic { polls[0] -> polls[0]--; events[0]++ }
    :: atomic { polls[1] -> polls[1]--; events[1]++ }
    :: break /* never */
    od;
    atomic { timeout ->
        assert(!(polls[0] && state[0] != POLLING) && !(polls[1] && state[1] != POLLING));
        assert(polls[0] || state[0] == FREE);
        assert(polls[1] || state[1] == FREE)
    }
}

init {
    atomic {
        index[0] = NONE;
        index[1] = NONE;
        run program(0);
        run program(1);
        run canceller()
    }
}
