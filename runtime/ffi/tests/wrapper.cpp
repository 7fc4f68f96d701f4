// What siskin.hpp promises: ./wrapper MODEL.siskin. Every line that does not hold is printed, and makes it fail.
#include <atomic>
#include <iostream>
#include <siskin.hpp>
#include <thread>

static int failures = 0;
#define HOLDS(condition) ((condition) ? (void)0 : (void)(failures++, std::cerr << __FILE__ << ':' << __LINE__ << ": " #condition "\n"))

static_assert(!std::is_copy_constructible_v<siskin::Session> && !std::is_copy_assignable_v<siskin::Session>);
static_assert(std::is_nothrow_move_constructible_v<siskin::Session> && std::is_nothrow_move_assignable_v<siskin::Session>);
static_assert(std::is_copy_constructible_v<siskin::Model> && std::is_nothrow_move_constructible_v<siskin::Model>);
static_assert(std::is_base_of_v<std::runtime_error, siskin::Error>);

// The status that `act` throws, with a text; SISKIN_OK if it does not throw.
template <class Act>
static siskin_status thrown(Act act)
{
    try {
        act();
        return SISKIN_OK;
    } catch (const siskin::Error &error) {
        std::string name = siskin_status_name(error.status());
        HOLDS(std::string(error.what()).compare(0, name.size() + 2, name + ": ") == 0);
        HOLDS(std::string(error.what()).size() > name.size() + 2);
        return error.status();
    }
}

static void errors(const siskin::Model &model)
{
    HOLDS(thrown([] { siskin::Model("/no/such/file.siskin"); }) == SISKIN_IO);
    alignas(64) static const char nothing[64] = "no model";
    HOLDS(thrown([] { siskin::Model(nothing, sizeof nothing); }) == SISKIN_BAD_FILE);
    HOLDS(thrown([&] {
              siskin_sampling sampling = siskin::sampling();
              sampling.temperature = -1;
              siskin::Session(model).set(sampling);
          }) == SISKIN_INVALID_ARGUMENT);
    HOLDS(thrown([&] {
              siskin_session_options options = siskin::session_options();
              options.max_memory = 1;
              siskin::Session session(model, options);
          }) == SISKIN_BUDGET);
    HOLDS(thrown([&] { siskin::Session(model).restore("not a state"); }) == SISKIN_BAD_STATE);
}

static void handles(const std::string &path)
{
    siskin::Model first(path), shared = first;
    HOLDS(first.get() == shared.get());
    siskin::Session session(shared), other(first);
    first = siskin::Model(path); // frees its part of the shared one
    { siskin::Model gone(std::move(shared)); }
    std::string text = session.generate("The", 8); // the session keeps the model open
    HOLDS(!text.empty());
    siskin::Session moved(std::move(session));
    HOLDS(session.get() == nullptr && moved.get() != nullptr);
    moved.reset();
    HOLDS(moved.generate("The", 8) == text);
    other = std::move(moved);
    other.reset();
    HOLDS(other.generate("The", 8) == text);
}

static void generating(const siskin::Model &model)
{
    siskin::Session session(model);
    std::string all = session.generate("The", 40), some;
    session.reset();
    siskin_stop stop = session.generate("The", 40, [&](std::string_view text) { some += text; });
    HOLDS(some == all && stop == SISKIN_STOP_MAX_TOKENS);

    session.reset();
    int pieces = 0;
    stop = session.generate("The", 40, [&](std::string_view) { return ++pieces < 3; });
    HOLDS(stop == SISKIN_STOP_CALLBACK && pieces == 3);

    session.reset();
    bool caught = false;
    try {
        session.generate("The", 40, [](std::string_view) { throw std::out_of_range("mine"); });
    } catch (const std::out_of_range &error) {
        caught = error.what() == std::string("mine");
    }
    HOLDS(caught);

    session.reset();
    std::string begin = session.generate("The", 20);
    std::string state = session.save();
    std::string end = session.generate("", 20);
    siskin::Session later(model);
    later.restore(state);
    HOLDS(later.generate("", 20) == end);

    // From another thread, while the text is being written; again and again, as a reset forgets what came before it.
    session.reset();
    std::atomic<bool> started = false, done = false;
    std::thread canceller([&] {
        for (; !done; std::this_thread::yield())
            if (started)
                session.cancel();
    });
    HOLDS(thrown([&] {
              for (;;) {
                  session.generate("The", 40, [&](std::string_view) { started = true; });
                  session.reset();
              }
          }) == SISKIN_CANCELLED);
    done = true;
    canceller.join();
}

static void tokens(const siskin::Model &model)
{
    siskin_model_info info = model.info();
    HOLDS(info.vocab_size > 1 && info.n_parameters > 0 && info.file_bytes > 0);
    model.verify();
    std::vector<std::uint32_t> ids = model.tokenize("The king");
    HOLDS(!ids.empty() && model.detokenize(ids) == "The king");
    HOLDS(model.tokenize("").empty() && model.detokenize({}).empty());
    HOLDS(thrown([&] { model.detokenize({static_cast<std::uint32_t>(info.vocab_size)}); }) == SISKIN_INVALID_ARGUMENT);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    siskin::Model model(argv[1]);
    errors(model);
    handles(argv[1]);
    generating(model);
    tokens(model);
    std::cout << (failures ? "broken\n" : "siskin.hpp holds\n");
    return failures != 0;
}
