#include "store/keyed_delivery.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>

namespace pgc {

KeyedDelivery::KeyedDelivery(AckRanges acked, uint32_t slots, size_t max_open)
    : max_open_(max_open),
      acked_(std::move(acked)),
      position_(acked_.low()),
      handed_out_(acked_.low()),
      slots_(slots) {}

KeyedDelivery::ConsumerId KeyedDelivery::LeastLoaded() const {
  ConsumerId least = kNobody;
  size_t slots = SIZE_MAX;
  for (const auto& [id, consumer] : consumers_) {
    if (consumer.slots >= slots) continue;
    least = id;
    slots = consumer.slots;
  }
  return least;
}

void KeyedDelivery::Join(ConsumerId id, size_t max_in_flight_bytes) {
  assert(id != kNobody && !consumers_.contains(id));
  consumers_[id].max_in_flight_bytes = max_in_flight_bytes;
  const size_t share = slots_.size() / consumers_.size();
  Consumer& joined = consumers_[id];
  for (uint32_t i = 0; i < slots_.size() && joined.slots < share; ++i) {
    Slot& slot = slots_[i];
    if (slot.target != kNobody && consumers_[slot.target].slots <= share) continue;
    Retarget(slot, id);
    TakeBackReady(slot);
    Advance(i);
  }
}

void KeyedDelivery::Retarget(Slot& slot, ConsumerId target) {
  if (slot.target != kNobody) --consumers_[slot.target].slots;
  slot.target = target;
  if (target != kNobody) ++consumers_[target].slots;
}

// What is ready and not handed out need not be acknowledged by the old owner.
void KeyedDelivery::TakeBackReady(Slot& slot) {
  // From the newest on, up to the newest that was handed out: what waits must come after that.
  while (!slot.open.empty()) {
    const uint64_t newest = *slot.open.rbegin();
    Open& event = open_.at(newest);
    // One that was requeued comes again to the same consumer.
    if (event.state != Open::State::kReady || event.next_delay != Delivery::kFirstDelay) return;
    TakeBack(newest, event);
  }
}

// Makes an event wait again that was ready, handed or requeued. Those of a slot are to be taken
// back from the newest on.
void KeyedDelivery::TakeBack(uint64_t ordinal, Open& event) {
  Consumer& holder = consumers_[event.holder];
  if (event.state == Open::State::kReady) {
    holder.ready.erase(ordinal);
  } else {
    holder.in_flight_bytes -= event.bytes;
    if (event.state == Open::State::kRequeued) holder.requeued.erase({event.due, ordinal});
  }
  event.state = Open::State::kWaiting;
  event.holder = kNobody;
  if (event.kind != Item::Kind::kKeyed) return;
  slots_[event.slot].open.erase(ordinal);
  slots_[event.slot].waiting.push_front(ordinal);
  if (!event.moves()) return;
  slots_[event.before].departed.reset();
  slots_[event.before].waiting.push_front(ordinal);
}

void KeyedDelivery::Leave(ConsumerId id) {
  const auto gone = consumers_.find(id);
  if (gone == consumers_.end()) return;
  if (consumers_.size() == 1) {
    Forget();
    return;
  }
  std::vector<uint64_t> keyless;
  for (auto at = open_.rbegin(); at != open_.rend(); ++at) {
    if (at->second.holder != id) continue;
    TakeBack(at->first, at->second);
    if (at->second.kind != Item::Kind::kKeyed) keyless.push_back(at->first);
  }
  // It gets no slot back: it counts as the most loaded until it is gone.
  gone->second.slots += slots_.size();
  for (Slot& slot : slots_) {
    if (slot.target == id) Retarget(slot, LeastLoaded());
    if (slot.owner == id) slot.owner = kNobody;
  }
  consumers_.erase(gone);
  for (const uint64_t ordinal : keyless) MakeReady(ordinal, open_.at(ordinal), LeastLoaded());
  for (uint32_t i = 0; i < slots_.size(); ++i) Advance(i);
}

// Nobody is left: all that is not acknowledged is dispatched anew to whoever comes.
void KeyedDelivery::Forget() {
  open_.clear();
  consumers_.clear();
  for (Slot& slot : slots_) slot = Slot();
  barrier_.reset();
  position_ = acked_.low();
}

std::optional<uint64_t> KeyedDelivery::Wanted(uint64_t end) const {
  if (consumers_.empty() || barrier_.has_value() || stalled()) return std::nullopt;
  const uint64_t next = acked_.NextMissing(position_);
  return next < end ? std::optional(next) : std::nullopt;
}

void KeyedDelivery::Dispatch(const Item& item) {
  assert(item.ordinal >= position_ && !barrier_.has_value());
  Open event;
  event.kind = item.kind;
  event.bytes = item.bytes;
  if (item.kind == Item::Kind::kBarrier) {
    barrier_ = item.ordinal;
  } else if (item.kind == Item::Kind::kKeyed) {
    event.slot = SlotOf(item.key.hash);
    event.before = SlotOf(item.key.before);
  }
  position_ = item.ordinal + 1;
  Open& added = open_.emplace(item.ordinal, event).first->second;
  switch (item.kind) {
    case Item::Kind::kFree:
      MakeReady(item.ordinal, added, LeastLoaded());
      break;
    case Item::Kind::kBarrier:
      if (open_.size() == 1) MakeReady(item.ordinal, added, LeastLoaded());
      break;
    case Item::Kind::kKeyed:
      slots_[added.slot].waiting.push_back(item.ordinal);
      if (added.moves()) slots_[added.before].waiting.push_back(item.ordinal);
      Advance(added.slot);
      break;
  }
}

// Whether an event at the head of those that wait in its slots may be handed out now.
bool KeyedDelivery::CanStart(uint64_t ordinal, const Open& event) const {
  const Slot& slot = slots_[event.slot];
  if (slot.owner == kNobody || slot.owner != slot.target || slot.departed.has_value()) return false;
  if (!event.moves()) return true;
  const Slot& before = slots_[event.before];
  return slot.waiting.front() == ordinal && before.waiting.front() == ordinal &&
         before.open.empty() && !before.departed.has_value();
}

// Makes ready what of the slot may be.
void KeyedDelivery::Advance(uint32_t index) {
  std::vector<uint32_t> todo{index};
  while (!todo.empty()) {
    const uint32_t at = todo.back();
    Slot& slot = slots_[at];
    if (slot.owner != slot.target && slot.open.empty()) slot.owner = slot.target;
    const uint64_t ordinal = slot.waiting.empty() ? 0 : slot.waiting.front();
    if (slot.waiting.empty() || !CanStart(ordinal, open_.at(ordinal))) {
      todo.pop_back();
      continue;
    }
    Open& event = open_.at(ordinal);
    slots_[event.slot].waiting.pop_front();
    slots_[event.slot].open.insert(ordinal);
    if (event.moves()) {
      slots_[event.before].waiting.pop_front();
      slots_[event.before].departed = ordinal;
      // What waited behind it in its new slot.
      todo.push_back(event.slot);
    }
    MakeReady(ordinal, event, slots_[event.slot].owner);
  }
}

void KeyedDelivery::MakeReady(uint64_t ordinal, Open& event, ConsumerId consumer) {
  event.state = Open::State::kReady;
  event.holder = consumer;
  consumers_.at(consumer).ready.insert(ordinal);
}

std::optional<uint64_t> KeyedDelivery::Next(ConsumerId id, Timer::Time now) {
  Consumer& consumer = consumers_.at(id);
  // Due ones are ready again, and come first: they are older than what was handed out since.
  while (!consumer.requeued.empty() && consumer.requeued.begin()->first <= now) {
    const uint64_t ordinal = consumer.requeued.begin()->second;
    consumer.requeued.erase(consumer.requeued.begin());
    Open& event = open_.at(ordinal);
    consumer.in_flight_bytes -= event.bytes;
    MakeReady(ordinal, event, id);
  }
  if (consumer.ready.empty()) return std::nullopt;
  const uint64_t next = *consumer.ready.begin();
  const bool full = consumer.in_flight_bytes > 0 &&
                    consumer.in_flight_bytes + open_.at(next).bytes > consumer.max_in_flight_bytes;
  return full ? std::nullopt : std::optional(next);
}

std::optional<OrdinalRange> KeyedDelivery::Take(ConsumerId id, Timer::Time now,
                                                OrdinalRange block) {
  std::optional<uint64_t> next = Next(id, now);
  if (!next.has_value() || *next < block.begin || *next >= block.end) return std::nullopt;
  Consumer& consumer = consumers_.at(id);
  OrdinalRange taken{.begin = *next, .end = *next};
  for (; next.has_value() && *next == taken.end && taken.end < block.end; next = Next(id, now)) {
    Open& event = open_.at(*next);
    consumer.ready.erase(consumer.ready.begin());
    consumer.in_flight_bytes += event.bytes;
    event.state = Open::State::kHanded;
    ++taken.end;
  }
  handed_out_ = std::max(handed_out_, taken.end);
  return taken;
}

std::optional<Timer::Time> KeyedDelivery::NextDue(ConsumerId id) const {
  const Consumer& consumer = consumers_.at(id);
  return consumer.requeued.empty() ? std::nullopt : std::optional(consumer.requeued.begin()->first);
}

absl::Status KeyedDelivery::Ack(OrdinalRange range) {
  if (range.end > handed_out_) {
    return absl::InvalidArgumentError(
        fmt::format("event {} was not handed out by this subscription", range.end - 1));
  }
  // Open events bound the number of holes.
  (void)acked_.Add(range.begin, range.end, SIZE_MAX);
  for (auto at = open_.lower_bound(range.begin); at != open_.end() && at->first < range.end;) {
    const auto closed = at++;
    Close(closed);
  }
  return absl::OkStatus();
}

void KeyedDelivery::Close(std::map<uint64_t, Open>::iterator at) {
  const auto [ordinal, event] = *at;
  if (event.state == Open::State::kWaiting) {
    // It was handed out before its holder went away, or before a restart.
    for (const uint32_t index : {event.slot, event.before}) {
      auto& waiting = slots_[index].waiting;
      const auto found = std::lower_bound(waiting.begin(), waiting.end(), ordinal);
      if (found != waiting.end() && *found == ordinal) waiting.erase(found);
    }
  } else {
    Consumer& holder = consumers_.at(event.holder);
    if (event.state == Open::State::kReady) {
      holder.ready.erase(ordinal);
    } else {
      holder.in_flight_bytes -= event.bytes;
    }
    if (event.state == Open::State::kRequeued) holder.requeued.erase({event.due, ordinal});
  }
  open_.erase(at);
  if (barrier_ == ordinal) barrier_.reset();
  if (event.kind == Item::Kind::kKeyed) {
    slots_[event.slot].open.erase(ordinal);
    Slot& before = slots_[event.before];
    if (before.departed == ordinal) before.departed.reset();
    Advance(event.slot);
    if (event.moves()) Advance(event.before);
  }
  if (barrier_.has_value() && open_.size() == 1 &&
      open_.begin()->second.state == Open::State::kWaiting) {
    MakeReady(*barrier_, open_.begin()->second, LeastLoaded());
  }
}

absl::Status KeyedDelivery::Requeue(uint64_t ordinal, Timer::Time now) {
  if (ordinal >= handed_out_) {
    return absl::InvalidArgumentError(
        fmt::format("event {} was not handed out by this subscription", ordinal));
  }
  const auto at = open_.find(ordinal);
  // Acknowledged, or to be handed out again anyway.
  if (at == open_.end() || at->second.state != Open::State::kHanded) return absl::OkStatus();
  Open& event = at->second;
  event.state = Open::State::kRequeued;
  event.due = now + event.next_delay;
  event.next_delay = std::min<std::chrono::seconds>(2 * event.next_delay, Delivery::kMaxDelay);
  consumers_.at(event.holder).requeued.emplace(event.due, ordinal);
  return absl::OkStatus();
}

}  // namespace pgc
