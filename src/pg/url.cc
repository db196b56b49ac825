#include "pg/url.h"

namespace pgc {
namespace {

constexpr std::string_view kMask = "***";

// Masks what follows each `key` up to one of `ends`.
void MaskSetting(std::string& text, std::string_view key, std::string_view ends) {
  for (size_t at = text.find(key); at != std::string::npos; at = text.find(key, at + key.size())) {
    const size_t begin = at + key.size();
    // A quoted value of a connection string ends at its quote.
    size_t end = std::string::npos;
    if (begin < text.size() && text[begin] == '\'') {
      end = text.find('\'', begin + 1);
      if (end != std::string::npos) ++end;
    } else {
      end = text.find_first_of(ends, begin);
    }
    text.replace(begin, end == std::string::npos ? end : end - begin, kMask);
  }
}

}  // namespace

std::string MaskPassword(std::string_view text) {
  std::string masked(text);
  for (size_t at = masked.find("://"); at != std::string::npos; at = masked.find("://", at + 3)) {
    const size_t begin = at + 3;
    // The last @ before the path: a password may hold one itself.
    const size_t path = masked.find_first_of("/?# ", begin);
    const size_t user_end = masked.rfind('@', path);
    if (user_end == std::string::npos || user_end < begin) continue;
    const size_t colon = masked.find(':', begin);
    if (colon == std::string::npos || colon > user_end) continue;
    masked.replace(colon + 1, user_end - colon - 1, kMask);
  }
  MaskSetting(masked, "password=", "& ");
  // Of the URL of a store.
  MaskSetting(masked, "token=", "& ");
  MaskSetting(masked, "password = ", " ");
  return masked;
}

bool IsConnectionString(std::string_view text) {
  return text.starts_with("postgres://") || text.starts_with("postgresql://") ||
         text.find('=') != std::string_view::npos;
}

}  // namespace pgc
