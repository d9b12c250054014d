/* buffers.h -- memory of large arrays, kept for the next array of about that size.
 * Design: (a) the system hands out fresh pages for a large block and takes them back when it is freed; touching a fresh page
 * costs more than the arithmetic of most operations, so blocks that were used are worth keeping; (b) sizes are rounded up to
 * one of four steps between powers of two, which wastes at most a fifth and makes blocks interchangeable; (c) the list is
 * bounded: at most BUFFERS_DEPTH blocks of a size and BUFFERS_LIMIT bytes in all, what is beyond goes back to the system;
 * (d) a block goes to the list of the size that it is freed with, which is never more than it has, so that every block
 * serves every request of its list; (e) one lock, which fork() waits for, so that a child finds the list whole.
 * NumPy calls these functions for arrays that are made while they are installed (NEP 49), and for each of those again when it
 * is freed, whenever that is. */
#ifndef TINYTORCH_BUFFERS_H
#define TINYTORCH_BUFFERS_H
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <numpy/ndarraytypes.h>

#define BUFFERS_SMALLEST ((size_t)64 << 10) /* bytes; below that the system's allocator keeps memory itself */
#define BUFFERS_LARGEST ((size_t)64 << 20)
#define BUFFERS_LIMIT ((size_t)256 << 20)
#define BUFFERS_DEPTH 16
#define BUFFERS_LISTS 48 /* from 64 KiB to 64 MiB are 10 powers of two, with 4 steps each */

typedef struct { int count; void *block[BUFFERS_DEPTH]; } buffers_list;

static buffers_list buffers_lists[BUFFERS_LISTS];
static size_t buffers_held = 0, buffers_reused = 0;
static pthread_mutex_t buffers_lock = PTHREAD_MUTEX_INITIALIZER;

static void buffers_before_fork(void) { pthread_mutex_lock(&buffers_lock); }
static void buffers_after_fork(void) { pthread_mutex_unlock(&buffers_lock); }
static void buffers_start(void) { pthread_atfork(buffers_before_fork, buffers_after_fork, buffers_after_fork); }

/* size rounded up to a multiple of a quarter of the power of two below it; list gets the number of that size. */
static size_t buffers_round(size_t size, int *list) {
    int power = 16;
    while (((size_t)2 << power) <= size) power++;
    size_t step = ((size_t)1 << power) / 4, rounded = (size + step - 1) / step * step;
    *list = (power - 16) * 4 + (int)(rounded / step) - 4;
    return rounded;
}

static int buffers_keeps(size_t size) { return size >= BUFFERS_SMALLEST && size <= BUFFERS_LARGEST; }

static void *buffers_take(int list, size_t size) {
    void *block = NULL;
    pthread_mutex_lock(&buffers_lock);
    if (buffers_lists[list].count) {
        block = buffers_lists[list].block[--buffers_lists[list].count];
        buffers_held -= size;
        buffers_reused++;
    }
    pthread_mutex_unlock(&buffers_lock);
    return block;
}

static void *buffers_malloc(void *context, size_t size) {
    int list;
    void *block;
    (void)context;
    if (!buffers_keeps(size)) return malloc(size);
    size = buffers_round(size, &list);
    if ((block = buffers_take(list, size))) return block;
    return posix_memalign(&block, 64, size) ? NULL : block;
}

static void *buffers_calloc(void *context, size_t count, size_t size) {
    int list;
    void *block;
    (void)context;
    if ((size && count > SIZE_MAX / size) || !buffers_keeps(count * size)) return calloc(count, size);
    size = buffers_round(count * size, &list);
    if ((block = buffers_take(list, size))) return memset(block, 0, size);
    return calloc(1, size); /* fresh pages are zero already */
}

/* The new block has to be as large as its list says, since that is where it goes when it is freed. */
static void *buffers_realloc(void *context, void *block, size_t size) {
    int list;
    (void)context;
    return realloc(block, buffers_keeps(size) ? buffers_round(size, &list) : size);
}

static void buffers_free(void *context, void *block, size_t size) {
    int list, kept = 0;
    (void)context;
    if (block && buffers_keeps(size)) {
        size = buffers_round(size, &list);
        pthread_mutex_lock(&buffers_lock);
        if (buffers_lists[list].count < BUFFERS_DEPTH && buffers_held + size <= BUFFERS_LIMIT) {
            buffers_lists[list].block[buffers_lists[list].count++] = block;
            buffers_held += size;
            kept = 1;
        }
        pthread_mutex_unlock(&buffers_lock);
    }
    if (!kept) free(block);
}

static void buffers_clear(void) {
    pthread_mutex_lock(&buffers_lock);
    for (int list = 0; list < BUFFERS_LISTS; list++)
        while (buffers_lists[list].count) free(buffers_lists[list].block[--buffers_lists[list].count]);
    buffers_held = 0;
    pthread_mutex_unlock(&buffers_lock);
}

static PyDataMem_Handler buffers_handler = {
    "tinytorch", 1, {NULL, buffers_malloc, buffers_calloc, buffers_realloc, buffers_free}};
#endif
