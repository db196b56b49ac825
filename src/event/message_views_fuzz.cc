// Whatever the bytes, a message is refused or all that is seen of it lies in them, and each column
// is of one message.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "event/message_views.h"

namespace {

void Check(bool is_so) {
  if (!is_so) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto* const begin = reinterpret_cast<const char*>(data);
  const auto check_in = [&](std::string_view text) {
    Check(text.empty() || (text.data() >= begin && text.data() + text.size() <= begin + size));
  };
  static pgc::MessageViews views;
  if (!views.Parse({data, size}).ok()) {
    Check(views.size() == 0);
    return 0;
  }
  Check(views.size() > 0);
  const pgc::FieldView* last = nullptr;
  for (size_t i = 0; i < views.size(); ++i) {
    const pgc::MessageView& message = views[i];
    for (const std::string_view text : {message.data, message.checkpoint, message.content,
                                        message.change.schema, message.change.table}) {
      check_in(text);
    }
    for (const pgc::FieldView& field : message.change.new_fields) {
      check_in(field.name);
      check_in(field.value);
      Check(last == nullptr || &field == last + 1);
      last = &field;
    }
    for (const pgc::FieldView& field : message.change.old_fields) {
      check_in(field.name);
      check_in(field.value);
    }
  }
  return 0;
}
