#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "event/checkpoint.h"

namespace pgc {

// Holds what the sessions of a subscription get against what `KeyShared` promises: the changes of a
// key come in the order of their commits, and to nobody new before the one who got the older ones
// has acknowledged them or is gone.
//
// Not thread-safe.
class KeyOrder {
 public:
  // A change's key, and the one that it moves its row from.
  struct Keys {
    std::string key;
    std::string before;
  };

  // `session` gets the change at `at`, for the first time or once more. `alive`: it is a session of
  // the serve that runs now, and no remainder of one that was killed.
  void Got(const Checkpoint& at, const Keys& keys, uint64_t session, bool first, bool alive) {
    Look(at, keys.key, session, first, alive);
    if (keys.before != keys.key) Look(at, keys.before, session, first, alive);
  }

  // To be called before the acknowledgement is sent.
  void Acknowledging(const Checkpoint& at, const Keys& keys, uint64_t session) {
    for (const std::string& name : {keys.key, keys.before}) {
      Key& key = keys_[name];
      const auto held = key.held.find(at);
      // Someone else may have it meanwhile, since serve was killed.
      if (held != key.held.end() && held->second == session) key.held.erase(held);
    }
  }

  const std::vector<std::string>& faults() const { return faults_; }
  size_t keys() const { return keys_.size(); }
  // How often a key's next change came to another session than the one before.
  size_t moves() const { return moves_; }

 private:
  struct Key {
    Checkpoint newest;  // of those that came
    uint64_t last_session = 0;
    std::map<Checkpoint, uint64_t> held;  // by which session, not acknowledged
  };

  void Look(const Checkpoint& at, const std::string& name, uint64_t session, bool first,
            bool alive) {
    Key& key = keys_[name];
    if (first) {
      if (at < key.newest) {
        faults_.push_back(fmt::format("{}: {} came for the first time after {}", name, ToKey(at),
                                      ToKey(key.newest)));
      }
      key.newest = at;
    }
    if (!alive) return;
    for (auto held = key.held.begin(); held != key.held.end() && held->first < at; ++held) {
      if (held->second == session) continue;
      faults_.push_back(fmt::format("{}: {} came to session {} while session {} had {}", name,
                                    ToKey(at), session, held->second, ToKey(held->first)));
    }
    if (key.last_session != 0 && key.last_session != session) ++moves_;
    key.last_session = session;
    key.held[at] = session;
  }

  std::map<std::string, Key> keys_;
  std::vector<std::string> faults_;
  size_t moves_ = 0;
};

}  // namespace pgc
