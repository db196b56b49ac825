#pragma once

#include <memory>
#include <string>
#include <vector>

#include "event/block.h"

namespace pgc {

// An event as the plugin test_decoding writes it, without LSNs and xids: `BEGIN`, `COMMIT`,
// `table public.t: UPDATE: old-key: id[integer]:1 new-tuple: id[integer]:2 v[text]:'b'`. Columns
// that an event leaves out are missing. Knows boolean, integer, bigint, text and bytea; a value of
// another type is `oid:hex`. Positions of sequences, which test_decoding does not know, are
// `sequences: public.s=5 public.unused=1 next`.
std::string ToText(const Event& event);

// Those of each event of `blocks`.
std::vector<std::string> ToText(const std::vector<std::shared_ptr<const Block>>& blocks);

}  // namespace pgc
