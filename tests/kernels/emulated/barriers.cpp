// Where threads wait for each other: barriers of a block, exchanges of a warp, copies under way, barriers of a cluster.
#include <string.h>

#include "machine.h"

namespace emulated {

void check_block(Block& block) {
  if (!block.waiting || block.waiting < block.live) return;
  block.waiting = 0;
  for (Thread* thread : block.members) {
    if (thread->state != State::waiting || thread->kind != block_barrier) continue;
    thread->state = State::ready;
    ++thread->block_barriers;
    thread->moment = 0;
  }
}

void wait_block(Site site) {
  Block& block = *running->home;
  running->site = site;
  if (block.waiting && !same(block.site, site))
    stop(("threads of one block wait at two places: the first came to " + told(block.site)).c_str(), site);
  block.site = site;
  running->kind = block_barrier;
  running->state = State::waiting;
  ++block.waiting;
  check_block(block);
  rest(block_barrier, site);
}

const Words* gather(Kind kind, Site site, const unsigned* words, int count) {
  Warp& warp = *running->warp;
  running->site = site;
  if (warp.present < lanes) stop("needs 32 lanes, but the last warp of this block has fewer", site);
  if (warp.left) stop("needs all 32 lanes of the warp, but some have returned", site);
  if (!warp.arrived) {
    warp.kind = kind;
    warp.site = site;
  } else if (warp.kind != kind || !same(warp.site, site)) {
    std::string text = std::string("the lanes of one warp parted: others wait in ") + name(warp.kind) + " at " + told(warp.site);
    stop(text.c_str(), site);
  }
  const Words* all = warp.words[warp.parity];
  memcpy(warp.words[warp.parity][running->lane], words, (size_t)count * sizeof(unsigned));
  if (++warp.arrived < lanes) {
    running->state = State::waiting;
  } else {
    warp.arrived = 0;
    warp.parity ^= 1;
    for (Thread* thread : warp.members) {
      thread->state = State::ready;
      if (kind != warp_barrier) continue;  // the others order no memory
      ++thread->warp_barriers;
      thread->moment = 0;
    }
  }
  rest(kind, site);
  return all;
}

static bool own(const void* place, int bytes) {
  const char* first = (const char*)place;
  return first >= running->shared && first + bytes <= running->shared + shared_bytes;
}

static void land(Copy& copy) {
  if (copy.there) memcpy(copy.to, copy.from, (size_t)copy.bytes);
  else memset(copy.to, 0, (size_t)copy.bytes);
  copy.landed = true;
}

void copy(void* to, const void* from, int bytes, bool there, Site site) {
  running->site = site;
  if (!own(to, bytes)) stop("a copy goes outside the block's shared memory", site);
  if ((size_t)to % (size_t)bytes) stop("a copy goes to a place that is not aligned to its size", site);
  if (there && (size_t)from % (size_t)bytes) stop("a copy comes from a place that is not aligned to its size", site);
  const void* program = __builtin_return_address(0);
  if (there) check({(const char*)from, (size_t)bytes, false, program});
  check({(const char*)to, (size_t)bytes, true, program});
  fly((const char*)to, (size_t)bytes, true);
  running->copies.push_back({(char*)to, (const char*)from, bytes, there, false, running->groups});
  if (lands_at_once()) land(running->copies.back());
}

void commit() { ++running->groups; }

void wait_groups(int open) {
  std::vector<Copy>& copies = running->copies;
  size_t done = 0;
  for (; done < copies.size() && copies[done].group < running->groups - open; ++done) {
    if (!copies[done].landed) land(copies[done]);
    fly(copies[done].to, (size_t)copies[done].bytes, false);
  }
  copies.erase(copies.begin(), copies.begin() + (long)done);
}

static void land(const Far& store) {
  if (!store.to->live) stop("a store into another block of the cluster found it finished", running->site);
  memcpy(store.place, store.bytes.data(), store.bytes.size());
}

void store_far(void* place, unsigned rank, const void* bytes, int count, Site site) {
  running->site = site;
  if (rank >= cluster.blocks.size()) stop("a store goes to a block that the cluster does not have", site);
  if (!own(place, count)) stop("a store into another block is not inside shared memory", site);
  if ((size_t)place % (size_t)count) stop("a store into another block is not aligned to its size", site);
  Block& block = cluster.blocks[rank];
  if (!block.started) stop("a store into another block that has not started: a cluster barrier must come first", site);
  if (!block.live) stop("a store into another block of the cluster found it finished", site);
  const char* first = (const char*)bytes;
  char* there = block.shared + ((char*)place - running->shared);
  check_shared({there, (size_t)count, true, __builtin_return_address(0)}, rank);
  const Far far = {&block, there, {first, first + count}, running->arrivals};
  if (lands_at_once()) land(far);
  else cluster.stores.push_back(far);
}

void check_cluster() {
  bool waited_for = false;
  for (Thread& thread : cluster.threads) {
    if (thread.state == State::finished) continue;
    if (thread.arrivals <= cluster.phase) return;
    waited_for = true;
  }
  if (!waited_for) return;
  std::vector<Far> later;
  for (Far& store : cluster.stores) {
    if (store.phase <= cluster.phase) land(store);
    else later.push_back(store);
  }
  cluster.stores = later;
  ++cluster.phase;
  for (Thread& thread : cluster.threads)
    if (thread.state == State::waiting && thread.kind == cluster_barrier) thread.state = State::ready;
}

void arrive_cluster(Site site) {
  running->site = site;
  if (running->arrivals > running->departures) stop("cluster_arrive twice without cluster_wait", site);
  ++running->arrivals;
  running->moment = 0;
  check_cluster();
}

void wait_cluster(Site site) {
  running->site = site;
  if (running->arrivals == running->departures) stop("cluster_wait without cluster_arrive", site);
  if (cluster.phase <= running->departures) {
    running->state = State::waiting;
    rest(cluster_barrier, site);
  }
  ++running->departures;
  running->moment = 0;
}

}  // namespace emulated
