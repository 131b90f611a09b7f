/*
 * The loads, which docs/results.md describes. The number in a name is the number of threads, or of calls
 * outstanding.
 */
#include "bench.h"

#define ECHO(n) {"echo-" #n, n, setupecho, muxloop, setupfloor, manyfloor}
#define OUTSTANDING(k) {"outstanding-" #k, 1, setupkept, keptloop, setupkept, keptfloor, .n = k, .cost = 1}
#define START(k) {"memory-start-" #k, .n = k, .whole = memorystart}
#define RPC(k) {"memory-rpc-" #k, .n = k, .whole = memoryrpc}

const Load loads[] = {
	{"mem-1", 1, setupmem, memloop, setupmem, memfloor, .cost = 1},
	{"mem-beside-1", 1, setupmem, memloop, setupmem, memfloor, .cost = 1, .beside = 1},
	{"echo-1", 1, setupecho, muxloop, setupfloor, onefloor},
	ECHO(2),
	ECHO(4),
	ECHO(8),
	ECHO(16),
	ECHO(32),
	ECHO(64),
	ECHO(256),
	ECHO(1000),
	{"batch-64", 64, setupbatch, muxloop, setupfloor, manyfloor},
	{"procs-8", 8, setupprocs, muxloop, setupfloor, manyfloor},
	{"async-64", 1, setupecho, asyncloop, setupfloor, asyncfloor},
	{"asyncbatch-64", 1, setupbatch, asyncloop, setupfloor, asyncfloor},
	{"asyncheld-64", 1, setupheld, asyncloop, setupheld, asyncfloor},
	{"lone-1", 1, setupecho, muxloop, setupfloor, onefloor, .stretch = 2,
		.lone = loneloop, .lonefloor = lonewritefloor, .report = latencies},
	{"lone-64", 64, setupecho, muxloop, setupfloor, manyfloor, .stretch = 6,
		.lone = loneloop, .lonefloor = lonefloor, .report = latencies},
	OUTSTANDING(1),
	OUTSTANDING(4),
	OUTSTANDING(16),
	OUTSTANDING(64),
	OUTSTANDING(256),
	OUTSTANDING(1024),
	OUTSTANDING(4096),
	OUTSTANDING(16384),
	OUTSTANDING(65535),
	START(9),
	START(17),
	START(64),
	START(65),
	START(1000),
	START(1025),
	START(65535),
	RPC(64),
	RPC(1000),
	{"memory-idle", .whole = memoryidle},
	{NULL},
};
