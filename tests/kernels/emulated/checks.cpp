// Sees every access of a kernel to memory: the compiler calls __tsan_read4(place) and its like before each, as it would
// for its own race detector, and here they are. Finds accesses out of bounds, races, and bytes still being copied.
#include "checks.h"

#include <link.h>
#include <stdio.h>
#include <sys/mman.h>

#include <algorithm>

#include "machine.h"

namespace emulated {

bool checked;
static std::vector<Region> regions, shared_regions;  // of global memory; of the blocks' shared memory
static std::vector<Moment> moments;
static unsigned clusters;    // so far
static bool fenced;          // blocks of this launch talk to each other through global memory
static bool open_world;      // the kernel got an address of which nobody knows how far it goes
static Region* recent[256];  // the region of an instruction, which mostly stays the same

// The compiled kernel with its constants, and this runtime.
struct Program {
  const char *base, *end;
  Program() {
    dl_iterate_phdr([](dl_phdr_info* info, size_t, void* self) {
      const char *base = (const char*)info->dlpi_addr, *end = base;
      for (int k = 0; k < info->dlpi_phnum; ++k)
        if (info->dlpi_phdr[k].p_type == PT_LOAD)
          end = std::max(end, base + info->dlpi_phdr[k].p_vaddr + info->dlpi_phdr[k].p_memsz);
      const bool own = (const char*)&checked >= base && (const char*)&checked < end;
      if (own) *(Program*)self = {base, end};
      return (int)own;
    }, this);
  }
  Program(const char* first, const char* last) : base(first), end(last) {}
};
static const Program program;

// The harness turns the number into a file and a line.
std::string where(const void* instruction) {
  char text[32];
  snprintf(text, sizeof text, "@%zx@", (size_t)((const char*)instruction - 1 - program.base));
  return text;
}
static unsigned offset(const void* instruction) { return (unsigned)((const char*)instruction - program.base); }

static unsigned moment() {
  if (!running->moment) {
    running->moment = (unsigned)moments.size();
    moments.push_back({running, running->block_barriers, running->warp_barriers, running->arrivals, running->departures});
  }
  return running->moment;
}

static bool ordered(unsigned number) {
  const Moment& before = moments[number];
  const Thread &then = *before.thread, &now = *running;
  return &then == &now || now.departures > before.arrivals ||
         (then.home == now.home && now.block_barriers > before.block_barriers) ||
         (then.warp == now.warp && now.warp_barriers > before.warp_barriers);
}

static std::string told(const Access& access, const Region& region) {
  const long long at = access.place - region.first;
  return std::string(access.write ? "writes " : "reads ") + std::to_string(access.bytes) + " bytes at byte " +
         std::to_string(at) + " of " + region.name;
}

[[noreturn]] static void race(const Access& access, const Region& region, const char* who, const char* what, unsigned at) {
  std::string text = told(access, region) + ", which " + who + what;
  if (at) text += " at " + where(program.base + at);
  fail(where(access.program), text + ", with no barrier between");
}

static void check_races(const Access& access, Region& region) {
  const unsigned own = moment(), at = offset(access.program);
  Trace* trace = region.traces + (access.place - region.first);
  unsigned write_before = 0, read_before = 0;  // of the byte before: in order
  for (size_t k = 0; k < access.bytes; ++k, ++trace) {
    if (trace->cluster != clusters) {
      const bool wrote = trace->write, read = trace->read || trace->foreign;
      if (!fenced && wrote) race(access, region, "another block", " wrote", trace->write_at);
      if (!fenced && access.write && read) race(access, region, "another block", " read", trace->read_at);
      *trace = {0, 0, 0, 0, 0, clusters, read, false};
    }
    if (trace->flying) fail(where(access.program), told(access, region) + " before the copy to it was waited for");
    if (trace->write && trace->write != write_before && !ordered(trace->write))
      race(access, region, told(*moments[trace->write].thread).c_str(), " wrote", trace->write_at);
    write_before = trace->write;
    if (!access.write) {
      if (trace->read == own) continue;
      if (trace->read && moments[trace->read].thread != running) trace->other = trace->read;
      trace->read = own;
      trace->read_at = at;
      continue;
    }
    if (trace->foreign && !fenced) race(access, region, "another block", " read", 0);
    if (trace->read && trace->read != read_before && !ordered(trace->read))
      race(access, region, told(*moments[trace->read].thread).c_str(), " read", trace->read_at);
    read_before = trace->read;
    if (trace->other && !ordered(trace->other))
      race(access, region, told(*moments[trace->other].thread).c_str(), " read", 0);
    *trace = {own, at, 0, 0, 0, clusters, 0, 0};
  }
}

static bool inside(const Access& access, const void* first, const void* end) {
  return access.place >= (const char*)first && access.place + access.bytes <= (const char*)end;
}
static bool inside(const Access& access, const Region& region) { return inside(access, region.first, region.end); }

static Region* find(const Access& access) {
  Region*& last = recent[(size_t)access.program % 256];
  if (last && inside(access, *last)) return last;
  for (Region& region : regions)
    if (inside(access, region)) return last = &region;
  return nullptr;
}

[[noreturn]] static void outside(const Access& access) {
  const Region* nearest = &shared_regions[running->rank];
  auto distance = [&](const Region& region) {
    return access.place < region.first ? region.first - access.place : access.place - region.end;
  };
  for (const Region& region : regions)
    if (distance(region) < distance(*nearest)) nearest = &region;
  const std::string size = " (" + std::to_string(nearest->end - nearest->first) + " bytes)";
  if ((size_t)access.place < 1 << 16)
    fail(where(access.program), std::string(access.write ? "writes to" : "reads from") + " an address near 0: an argument that is absent");
  fail(where(access.program), told(access, *nearest) + size + ": out of bounds");
}

void check(const Access& access) {
  if (!checked || !running) return;
  if (inside(access, running->stack, running->stack + stack_bytes)) return;
  if (inside(access, shared_regions[running->rank])) return check_races(access, shared_regions[running->rank]);
  if (inside(access, program.base, program.end)) return;
  if (Region* region = find(access)) return check_races(access, *region);
  if (inside(access, cluster.threads.data(), cluster.threads.data() + cluster.threads.size())) return;
  if (inside(access, cluster.warps.data(), cluster.warps.data() + cluster.warps.size())) return;
  if (!open_world && !inside(access, arguments, (const char*)arguments + arguments_size)) outside(access);
}

void check_shared(const Access& access, unsigned rank) {
  if (checked) check_races(access, shared_regions[rank]);
}

void fly(const char* place, size_t bytes, bool flying) {
  if (!checked) return;
  Region& region = shared_regions[running->rank];
  for (Trace* trace = region.traces + (place - region.first); bytes--; ++trace) {
    trace->flying = flying;
    trace->write = moment();
  }
}

static Region made(const char* first, const char* end, const std::string& name) {
  void* traces = mmap(nullptr, (size_t)(end - first + 1) * sizeof(Trace), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return {first, end, name, (Trace*)traces};
}

void start_checks() {
  clusters = 0;
  fenced = false;
  std::fill(recent, recent + 256, nullptr);
  if (checked)
    for (const Block& block : cluster.blocks)
      shared_regions.push_back(made(block.shared, block.shared + shared_bytes, "shared memory"));
}

void stop_checks() {
  for (std::vector<Region>* all : {&regions, &shared_regions}) {
    for (Region& region : *all) munmap(region.traces, (size_t)(region.end - region.first + 1) * sizeof(Trace));
    all->clear();
  }
}

void start_cluster() {
  ++clusters;
  moments.assign(1, {});
  for (Region& region : shared_regions)
    for (Trace* trace = region.traces; trace < region.traces + (region.end - region.first); ++trace)
      *trace = {0, 0, 0, 0, 0, clusters, 0, 0};
}

void fence() { fenced = true; }

void touch(const void* place, int bytes) {
  if (checked && !open_world && !find({(const char*)place, (size_t)bytes, true, nullptr})) {
    const Access access = {(const char*)place, (size_t)bytes, true, __builtin_return_address(0)};
    if (!inside(access, shared_regions[running->rank])) outside(access);
  }
}

}  // namespace emulated

extern "C" void emulated_watch(int checked, int open) {
  emulated::checked = checked;
  emulated::open_world = open;
}
extern "C" void emulated_region(const char* first, long long bytes, const char* name) {
  emulated::regions.push_back(emulated::made(first, first + bytes, name));
}

#define EMULATED_ACCESS(size) \
  extern "C" void __tsan_read##size(void* p) { emulated::check({(char*)p, size, false, __builtin_return_address(0)}); } \
  extern "C" void __tsan_write##size(void* p) { emulated::check({(char*)p, size, true, __builtin_return_address(0)}); } \
  extern "C" void __tsan_unaligned_read##size(void* p) { emulated::check({(char*)p, size, false, __builtin_return_address(0)}); } \
  extern "C" void __tsan_unaligned_write##size(void* p) { emulated::check({(char*)p, size, true, __builtin_return_address(0)}); }
EMULATED_ACCESS(1)
EMULATED_ACCESS(2)
EMULATED_ACCESS(4)
EMULATED_ACCESS(8)
EMULATED_ACCESS(16)
extern "C" void __tsan_read_range(void* p, size_t n) { emulated::check({(char*)p, n, false, __builtin_return_address(0)}); }
extern "C" void __tsan_write_range(void* p, size_t n) { emulated::check({(char*)p, n, true, __builtin_return_address(0)}); }
extern "C" void __tsan_init() {}
extern "C" void __tsan_func_entry(void*) {}
extern "C" void __tsan_func_exit() {}

// -fsanitize=alignment,bounds: the compiler hands over where in the source that is.
struct Place {
  const char* file;
  unsigned line, column;
};
static emulated::Site site_of(const void* data) { return {((const Place*)data)->file, (int)((const Place*)data)->line}; }
extern "C" void __ubsan_handle_type_mismatch_v1(void* data, size_t place) {
  char text[100];
  snprintf(text, sizeof text, "uses address %#zx, which is not aligned to the size of what it reads or writes", place);
  emulated::stop(text, site_of(data));
}
extern "C" void __ubsan_handle_out_of_bounds(void* data, size_t index) {
  emulated::stop(("index " + std::to_string((long long)index) + " is outside the array").c_str(), site_of(data));
}
