// siskin.hpp - siskin.h for C++17 and later: handles that free themselves, exceptions, strings, lambdas.
//
//     siskin::Model model("story.siskin");
//     siskin::Session session(model);
//     session.generate("Once", 100, [](std::string_view text) { std::cout << text; });
//
// What a function does, and which statuses it may give, stands in siskin.h at the C function of the same name.
#ifndef SISKIN_HPP
#define SISKIN_HPP

#include "siskin.h"

#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace siskin {

// Thrown by everything below that fails: a status, and in what() its text.
class Error : public std::runtime_error {
public:
    Error(siskin_status status, const std::string &text) : std::runtime_error(text), status_(status) {}
    siskin_status status() const noexcept { return status_; }

private:
    siskin_status status_;
};

// Throws what the last function of this thread said, unless it succeeded.
inline void check(siskin_status status)
{
    if (status == SISKIN_OK)
        return;
    std::string text(siskin_error_text(nullptr, 0), '\0');
    siskin_error_text(&text[0], text.size());
    text.pop_back();
    throw Error(status, std::string(siskin_status_name(status)) + ": " + text);
}

// Option structs with their defaults: `auto options = siskin::session_options(); options.threads = 2;`
inline siskin_model_options model_options()
{
    siskin_model_options options;
    siskin_model_options_init(&options, sizeof options);
    return options;
}
inline siskin_session_options session_options()
{
    siskin_session_options options;
    siskin_session_options_init(&options, sizeof options);
    return options;
}
inline siskin_sampling sampling()
{
    siskin_sampling sampling;
    siskin_sampling_init(&sampling, sizeof sampling);
    return sampling;
}

// An open model. Copies share it; any number of threads may use it. A model that was moved from can only be assigned to.
class Model {
public:
    explicit Model(const std::string &path, const siskin_model_options &options = model_options())
    {
        check(siskin_model_open(path.c_str(), &options, &model_));
    }
    // Of bytes that stay until the model and its sessions are gone, unless the options say SISKIN_COPY.
    Model(const void *bytes, std::size_t n_bytes, const siskin_model_options &options = model_options())
    {
        check(siskin_model_open_memory(bytes, n_bytes, &options, &model_));
    }
    Model(const Model &other) : model_(other.model_)
    {
        if (model_)
            check(siskin_model_retain(model_));
    }
    Model(Model &&other) noexcept : model_(std::exchange(other.model_, nullptr)) {}
    Model &operator=(Model other) noexcept
    {
        std::swap(model_, other.model_);
        return *this;
    }
    ~Model() { siskin_model_free(model_); }

    siskin_model_info info() const
    {
        siskin_model_info info;
        info.size = sizeof info;
        check(siskin_model_get_info(model_, &info));
        return info;
    }
    void verify() const { check(siskin_model_verify(model_)); }
    std::vector<std::uint32_t> tokenize(std::string_view text, std::uint32_t flags = 0) const
    {
        std::vector<std::uint32_t> tokens(text.size() + 1); // never more than bytes, and the begin token
        std::size_t n = 0;
        check(siskin_tokenize(model_, text.data(), text.size(), flags, tokens.data(), tokens.size(), &n));
        tokens.resize(n);
        return tokens;
    }
    std::string detokenize(const std::vector<std::uint32_t> &tokens) const
    {
        std::size_t n = 0;
        siskin_status status = siskin_detokenize(model_, tokens.data(), tokens.size(), nullptr, 0, &n);
        std::string text(n, '\0');
        if (status != SISKIN_BUFFER_TOO_SMALL)
            check(status);
        else
            check(siskin_detokenize(model_, tokens.data(), tokens.size(), &text[0], n, &n));
        return text;
    }
    siskin_model *get() const noexcept { return model_; } // for the functions of siskin.h

private:
    siskin_model *model_ = nullptr;
};

// A text that goes on. It can be moved, not copied, and is used by one thread at a time; only cancel() may come from any thread.
class Session {
public:
    explicit Session(const Model &model, const siskin_session_options &options = session_options())
    {
        check(siskin_session_new(model.get(), &options, &session_));
    }
    Session(Session &&other) noexcept : session_(std::exchange(other.session_, nullptr)) {}
    Session &operator=(Session &&other) noexcept
    {
        std::swap(session_, other.session_);
        return *this;
    }
    ~Session() { siskin_session_free(session_); }

    void set(const siskin_sampling &sampling) { check(siskin_session_set_sampling(session_, &sampling)); }

    // Gives the text to `write`, a function of std::string_view, as it comes. `write` may return false to stop, and may
    // throw: the exception passes through. Returns why the text ended.
    template <class Write>
    siskin_stop generate(std::string_view prompt, std::size_t max_tokens, Write &&write)
    {
        struct Call {
            Write &write;
            std::exception_ptr thrown;
        } call{write, nullptr};
        auto piece = [](const char *text, std::size_t length, void *user) -> int {
            Call &to = *static_cast<Call *>(user);
            try {
                if constexpr (std::is_convertible_v<decltype(to.write(std::string_view())), bool>)
                    return to.write(std::string_view(text, length)) ? 0 : 1;
                else
                    return to.write(std::string_view(text, length)), 0;
            } catch (...) {
                to.thrown = std::current_exception();
                return 1;
            }
        };
        siskin_stop stop = SISKIN_STOP_NONE;
        siskin_status status = siskin_session_generate(session_, prompt.data(), prompt.size(), max_tokens, piece, &call, &stop);
        if (call.thrown)
            std::rethrow_exception(call.thrown);
        check(status);
        return stop;
    }
    // All of the text at once.
    std::string generate(std::string_view prompt, std::size_t max_tokens)
    {
        std::string all;
        generate(prompt, max_tokens, [&](std::string_view text) { all += text; });
        return all;
    }

    void cancel() { check(siskin_session_cancel(session_)); }
    void reset() { check(siskin_session_reset(session_)); }

    std::string save() const
    {
        std::size_t n = 0;
        siskin_status status = siskin_session_save(session_, nullptr, 0, &n);
        if (status != SISKIN_BUFFER_TOO_SMALL)
            check(status);
        std::string state(n, '\0');
        check(siskin_session_save(session_, &state[0], n, &n));
        return state;
    }
    void restore(std::string_view state) { check(siskin_session_restore(session_, state.data(), state.size())); }

    siskin_session *get() const noexcept { return session_; } // for the functions of siskin.h

private:
    siskin_session *session_ = nullptr;
};

} // namespace siskin

#endif
