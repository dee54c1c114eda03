// Runs a grid: cluster by cluster, thread by thread, until nobody can go on; says what went wrong and where.
#include "machine.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <numeric>
#include <utility>

namespace emulated {

Cluster cluster;
Thread* running;
Identity* now;
long long shared_bytes;
int order;

const void* arguments;
static std::string report;
static jmp_buf scheduler;
static sigjmp_buf escape;
static unsigned long long seed;
static const size_t page = (size_t)sysconf(_SC_PAGESIZE);

unsigned dice(unsigned sides) {
  seed = seed * 6364136223846793005ull + 1442695040888963407ull;
  return (unsigned)((seed >> 33) % sides);
}

template <class T> static void shuffle(std::vector<T>& v) {
  for (size_t k = v.size(); k > 1; --k) std::swap(v[k - 1], v[dice((unsigned)k)]);
}

const char* name(Kind kind) {
  static const char* const names[] = {"nothing", "__syncthreads", "__syncwarp", "an exchange", "a broadcast", "a vote",
                                      "multiply_tf32", "cluster_wait"};
  return names[kind];
}

std::string told(Site site) { return site.file ? std::string(site.file) + ":" + std::to_string(site.line) : "its start"; }
bool same(Site a, Site b) { return a.line == b.line && (a.file == b.file || !strcmp(a.file, b.file)); }

static std::string told(uint3 v) {
  return "(" + std::to_string(v.x) + ", " + std::to_string(v.y) + ", " + std::to_string(v.z) + ")";
}
std::string told(const Thread& thread) {
  const unsigned x = thread.thread.x;
  return "block " + told(thread.block) + ", thread " + std::to_string(x) + " (warp " + std::to_string(x / lanes) + ", lane " +
         std::to_string(x % lanes) + ")";
}

[[noreturn]] void fail(const std::string& where, const std::string& text) {
  report = (running ? told(*running) + ", at " + where + ": " : std::string()) + text;
  siglongjmp(escape, 1);
}
[[noreturn]] void stop(const char* text, Site site) { fail(told(site), text); }

// A switch costs two jumps: ucontext only makes the first frame, as its own switch asks the kernel for the signal mask.
__attribute__((noinline)) static void to_scheduler() {
  if (!_setjmp(running->place)) _longjmp(scheduler, 1);
}

__attribute__((noinline)) static void resume(Thread& thread) {
  running = &thread;
  now = &thread;
  const bool born = thread.state == State::unborn;
  thread.state = State::ready;
  thread.home->started = true;
  if (!_setjmp(scheduler)) {
    if (born) setcontext(&thread.first);
    _longjmp(thread.place, 1);
  }
  running = nullptr;
}

void rest(Kind kind, Site site) {
  running->kind = kind;
  running->site = site;
  if (running->state == State::waiting) to_scheduler();
}

static void live() {
  enter(arguments);
  Thread& thread = *running;
  thread.state = State::finished;
  thread.warp->left = true;
  if (thread.warp->arrived) {
    std::string text = std::string("returned while lanes of its warp wait in ") + name(thread.warp->kind) + " at " + told(thread.warp->site);
    stop(text.c_str(), thread.site);
  }
  --thread.home->live;
  check_block(*thread.home);
  check_cluster();
  _longjmp(scheduler, 1);
}

static void say_who_waits() {
  std::vector<std::pair<std::string, int>> kinds;
  for (Thread& thread : cluster.threads) {
    const std::string text = thread.state == State::finished ? "have returned" : std::string("wait in ") + name(thread.kind) + " at " + told(thread.site);
    size_t k = 0;
    while (k < kinds.size() && kinds[k].first != text) ++k;
    if (k == kinds.size()) kinds.push_back({text, 0});
    ++kinds[k].second;
  }
  std::string text = "deadlock from block " + told(cluster.threads[0].block) + " on:";
  for (size_t k = 0; k < kinds.size(); ++k)
    text += (k ? ", " : " ") + std::to_string(kinds[k].second) + " threads " + kinds[k].first;
  stop(text.c_str(), {nullptr, 0});
}

static bool able(const Thread& thread) { return thread.state == State::ready || thread.state == State::unborn; }

// Forward and backward run each warp as far as it can go, which parts the warps the most; by seed all are mixed.
static bool run_once() {
  bool moved = false;
  const size_t count = order > 1 ? 1 : cluster.warps.size();
  std::vector<Thread*> all;
  for (size_t k = 0; k < count; ++k) {
    all = cluster.warps[order == 1 ? count - 1 - k : k].members;
    if (order == 1) std::reverse(all.begin(), all.end());
    if (order > 1) {
      all.clear();
      for (Thread& thread : cluster.threads) all.push_back(&thread);
      shuffle(all);
    }
    for (bool more = true; more;) {
      more = false;
      for (Thread* thread : all)
        if (able(*thread)) resume(*thread), more = true;
      moved |= more;
      if (order > 1) break;
    }
  }
  return moved;
}

static const unsigned char fill = 0xff;  // as fp32, bf16 and fp16: not a number

__attribute__((noinline)) static void bear(Thread& thread) {
  getcontext(&thread.first);
  thread.first.uc_stack.ss_sp = thread.stack;
  thread.first.uc_stack.ss_size = stack_bytes;
  thread.first.uc_link = nullptr;
  makecontext(&thread.first, live, 0);
}

static void prepare(uint3 first, uint3 blocks, unsigned threads) {
  const unsigned size = (unsigned)cluster.blocks.size(), warps = (threads + lanes - 1) / lanes;
  start_cluster();
  cluster.phase = 0;
  cluster.stores.clear();
  for (Warp& warp : cluster.warps) warp = {};
  for (unsigned b = 0; b < size; ++b) {
    Block& block = cluster.blocks[b];
    block = {block.shared, (int)threads, 0, false, {}, {}};
    char* low = (char*)((size_t)block.shared & ~(page - 1));
    memset(low, fill, (size_t)(block.shared + shared_bytes - low));
    for (unsigned t = 0; t < threads; ++t) {
      Thread& thread = cluster.threads[b * threads + t];
      Warp& warp = cluster.warps[b * warps + t / lanes];
      (Identity&)thread = {{t, 0, 0}, {first.x + b, first.y, first.z}, {threads, 1, 1}, blocks, t % lanes, b, block.shared};
      thread.home = &block;
      thread.warp = &warp;
      thread.state = State::unborn;
      thread.site = {};
      thread.copies.clear();
      thread.groups = thread.block_barriers = thread.warp_barriers = thread.arrivals = thread.departures = 0;
      thread.moment = 0;
      bear(thread);
      block.members.push_back(&thread);
      warp.members.push_back(&thread);
      ++warp.present;
    }
  }
}

static void finish() {
  for (Thread& thread : cluster.threads)
    if (thread.state != State::finished) say_who_waits();
  if (!cluster.stores.empty()) stop("a store into another block was never followed by a cluster barrier", {nullptr, 0});
  for (Block& block : cluster.blocks)
    for (char* byte = (char*)((size_t)block.shared & ~(page - 1)); byte < block.shared; ++byte)
      if ((unsigned char)*byte != fill) stop("the kernel wrote before the start of its shared memory", {nullptr, 0});
}

static void run_grid(uint3 blocks, unsigned threads) {
  const unsigned size = (unsigned)cluster.blocks.size(), count = blocks.x / size * blocks.y * blocks.z;
  std::vector<unsigned> turns(count);
  std::iota(turns.begin(), turns.end(), 0u);
  if (order == 1) std::reverse(turns.begin(), turns.end());
  if (order > 1) shuffle(turns);
  for (unsigned turn : turns) {
    const unsigned x = turn % (blocks.x / size), rest = turn / (blocks.x / size);
    prepare({x * size, rest % blocks.y, rest / blocks.y}, blocks, threads);
    while (run_once()) {}
    finish();
  }
}

// Pages that nobody may touch lie on both sides of each stack and of each shared memory, right at its end.
struct Memory {
  char* base;
  size_t bytes;
  explicit Memory(size_t size) : bytes(size) {
    base = (char*)mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  }
  ~Memory() { munmap(base, bytes); }
  char* open(size_t from, size_t size) {
    mprotect(base + from, size, PROT_READ | PROT_WRITE);
    return base + from;
  }
};

static void caught(int signal, siginfo_t* info, void*) {
  if (!running) {
    report = "the emulator itself failed";
    siglongjmp(escape, 1);
  }
  char text[200];
  const char* place = (const char*)info->si_addr;
  const long long past = place - (running->shared + shared_bytes);
  if (signal == SIGFPE) snprintf(text, sizeof text, "an integer was divided by zero");
  else if (past >= 0 && past < (long long)page) snprintf(text, sizeof text, "touched shared memory %lld bytes past its end", past);
  else if (place < running->stack && running->stack - place <= (long long)page) snprintf(text, sizeof text, "the stack is full");
  else snprintf(text, sizeof text, "touched the address %p, which is nobody's", (const void*)place);
  stop((std::string(text) + " (the place is that of the last barrier, exchange or copy before)").c_str(), running->site);
}

struct Signals {
  static constexpr int watched[3] = {SIGSEGV, SIGBUS, SIGFPE};
  struct sigaction before[3];
  stack_t stack_before;
  char* stack = new char[64 << 10];
  Signals() {
    stack_t own = {};
    own.ss_sp = stack;
    own.ss_size = 64 << 10;
    sigaltstack(&own, &stack_before);
    struct sigaction action = {};
    action.sa_sigaction = caught;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    for (int k = 0; k < 3; ++k) sigaction(watched[k], &action, &before[k]);
  }
  ~Signals() {
    for (int k = 0; k < 3; ++k) sigaction(watched[k], &before[k], nullptr);
    sigaltstack(&stack_before, nullptr);
    delete[] stack;
  }
};

static void run(uint3 blocks, unsigned threads, unsigned size) {
  const size_t slot = stack_bytes + page, room = ((size_t)shared_bytes + page - 1) / page * page, share = room + 2 * page;
  Memory stacks(size * threads * slot + page), shared(size * share);
  Signals signals;
  cluster = {};
  cluster.blocks.resize(size);
  cluster.threads.resize(size * threads);
  cluster.warps.resize(size * ((threads + lanes - 1) / lanes));
  for (size_t t = 0; t < cluster.threads.size(); ++t) cluster.threads[t].stack = stacks.open(t * slot + page, stack_bytes);
  for (size_t b = 0; b < size; ++b) cluster.blocks[b].shared = shared.open(b * share + page, room) + room - shared_bytes;
  start_checks();
  if (!sigsetjmp(escape, 1)) run_grid(blocks, threads);
  running = nullptr;
  stop_checks();
}

}  // namespace emulated

extern "C" const char* emulated_report() { return emulated::report.c_str(); }

extern "C" int emulated_size() { return emulated::arguments_size; }

extern "C" int emulate(const void* arguments, int x, int y, int z, int threads, int cluster, int shared, int order) {
  using namespace emulated;
  report.clear();
  emulated::arguments = arguments;
  emulated::order = order;
  seed = (unsigned long long)order * 0x9e3779b97f4a7c15ull;
  shared_bytes = (shared + 15) / 16 * 16;
  run({(unsigned)x, (unsigned)y, (unsigned)z}, (unsigned)threads, (unsigned)cluster);
  fflush(stdout);  // what the kernel printed
  return !report.empty();
}
